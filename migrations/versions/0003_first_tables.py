"""The first tables: revisions 0001 to 0003 in one, as no database of the earlier ones was ever released."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("max_active_jobs", sa.Integer()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("last_used_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_keys_prefix")),
    )
    op.create_index(op.f("ix_keys_tenant"), "keys", ["tenant"])

    op.create_table(
        "models",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("pinned_checkpoint", sa.String(length=40)),
        sa.Column("pinned_replica", sa.Integer()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_models_tenant_name")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=10), nullable=False),
        sa.Column("job_id", sa.String(length=40)),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "blob_chunks",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_blob_chunks_sha256"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sha256", "position", name=op.f("pk_blob_chunks")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=100)),
        sa.Column("model_id", sa.String(length=40)),
        sa.Column("model_name", sa.String(length=100)),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("baseline_loss", sa.Double(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=10), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255)),
        sa.Column("idempotency_hash", sa.String(length=64)),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("requested", sa.String(length=10)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100)),
        sa.Column("lease_expires", sa.Double()),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("loss", sa.JSON()),
        sa.Column("steps_per_second", sa.Double()),
        sa.Column("best_checkpoint", sa.String(length=40)),
        sa.Column("best_replica", sa.Integer()),
        sa.Column("best_loss", sa.Double()),
        sa.Column("last_checkpoint", sa.String(length=40)),
        sa.Column("diverged", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON()),
        sa.Column("stopped", sa.String(length=20)),
        sa.Column("stopped_replicas", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("queued_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("tenant", "idempotency_key", name=op.f("uq_jobs_tenant_idempotency_key")),
    )
    op.create_index(op.f("ix_jobs_key_id_status"), "jobs", ["key_id", "status"])
    op.create_index(op.f("ix_jobs_model_id"), "jobs", ["model_id"])
    op.create_index("ix_jobs_queue", "jobs", ["status", sa.text("priority DESC"), "queued_at", "id", "device"])
    op.create_index(op.f("ix_jobs_tenant_id"), "jobs", ["tenant", "id"])

    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("state_sha256", sa.String(length=64)),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("losses", sa.JSON()),
        sa.Column("best_replica", sa.Integer()),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("certificate", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_checkpoints_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["state_sha256"], ["blobs.sha256"], name=op.f("fk_checkpoints_state_sha256")),
        sa.ForeignKeyConstraint(["weights_sha256"], ["blobs.sha256"], name=op.f("fk_checkpoints_weights_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("job_id", "step", name=op.f("uq_checkpoints_job_id_step")),
    )
    op.create_index(op.f("ix_checkpoints_state_sha256"), "checkpoints", ["state_sha256"])
    op.create_index(op.f("ix_checkpoints_weights_sha256"), "checkpoints", ["weights_sha256"])

    op.create_table(
        "events",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=30), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_events")),
    )
    op.create_table(
        "metric_blocks",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("first_step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metric_blocks_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "first_step", name=op.f("pk_metric_blocks")),
    )
    with op.batch_alter_table("models") as models:  # models, jobs and checkpoints refer to each other in a circle
        models.create_foreign_key(
            op.f("fk_models_pinned_checkpoint"), "checkpoints", ["pinned_checkpoint"], ["id"], ondelete="SET NULL"
        )
