"""Adds turns of tenants and their limits, an index for each way in which jobs are found, sessions, and pins.

Tenants take turns at the workers, and keys and tenants have limits; labels have a table of their own; jobs keep the
trace context of the request that submitted them; sessions are the hidden states of live streams; pins are the
checkpoints that a model serves besides the first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

QUEUED = sa.text("status = 'queued' AND driver = 'trainer'")
TRAINED = sa.text("status = 'succeeded' AND best_checkpoint IS NOT NULL")

LABELS = {
    "sqlite": "INSERT INTO job_labels (tenant, label, value, job_id)"
    " SELECT jobs.tenant, one.key, one.value, jobs.id FROM jobs, json_each(jobs.labels) AS one",
    "postgresql": "INSERT INTO job_labels (tenant, label, value, job_id)"
    " SELECT jobs.tenant, one.key, one.value, jobs.id FROM jobs, json_each_text(jobs.labels) AS one",
}


def upgrade() -> None:
    _turns_and_limits()
    _lists()
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=55)))
    _pins_and_sessions()


def _turns_and_limits() -> None:
    with op.batch_alter_table("keys") as keys:
        keys.add_column(sa.Column("limits", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("keys") as keys:
        keys.alter_column("limits", existing_type=sa.JSON(), existing_nullable=False, server_default=None)
    # these defaults stay: SQLite would have to write the whole table again to remove them
    op.add_column("jobs", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("claimed_at", sa.Double()))
    op.add_column("jobs", sa.Column("ran_seconds", sa.Double(), nullable=False, server_default="0"))

    op.create_table(
        "tenants",
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenants")),
    )
    op.create_table(
        "clocks",
        sa.Column("device", sa.String(length=10), nullable=False),
        sa.Column("now", sa.Double(), nullable=False),
        sa.Column("starts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_clocks")),
    )
    op.create_table(
        "stored",
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key_id", name=op.f("pk_stored")),
    )
    _measure()

    queued, running = sa.text("status = 'queued' AND driver = 'trainer'"), sa.text("status = 'running'")
    not_ended = sa.text("ended_at IS NULL")
    order = ("tenant", sa.text("priority DESC"), "queued_at", "id", "key_id")
    op.create_index("ix_jobs_turn", "jobs", ["device", *order], sqlite_where=queued, postgresql_where=queued)
    op.create_index("ix_jobs_running", "jobs", ["tenant", "key_id"], sqlite_where=running, postgresql_where=running)
    for owner in ("key", "tenant"):
        columns = ["key_id" if owner == "key" else "tenant", "status"]
        op.create_index(f"ix_jobs_{owner}_open", "jobs", columns, sqlite_where=not_ended, postgresql_where=not_ended)
    op.drop_index("ix_jobs_key_id_status", "jobs")


def _measure() -> None:
    """Fill in the size of what each job has stored, and since when those that run have run."""
    op.execute("""
        UPDATE jobs SET stored_bytes =
            coalesce((SELECT sum(c.size + coalesce(b.size, 0)) FROM checkpoints c
                LEFT JOIN blobs b ON b.sha256 = c.state_sha256 WHERE c.job_id = jobs.id), 0)
            + coalesce((SELECT sum(a.size) FROM artifacts a WHERE a.job_id = jobs.id), 0)
        WHERE EXISTS (SELECT 1 FROM checkpoints WHERE job_id = jobs.id)
            OR EXISTS (SELECT 1 FROM artifacts WHERE job_id = jobs.id)
    """)
    op.execute("UPDATE jobs SET claimed_at = started_at WHERE status = 'running'")
    op.execute("""
        INSERT INTO stored (tenant, key_id, bytes)
        SELECT tenant, key_id, sum(stored_bytes) FROM jobs WHERE stored_bytes > 0 GROUP BY tenant, key_id
    """)


def _lists() -> None:
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_index(op.f("ix_jobs_model_id"), "jobs")
    op.drop_index(op.f("ix_jobs_parent_id"), "jobs")
    op.create_index(op.f("ix_jobs_tenant_name_id"), "jobs", ["tenant", "name", "id"])
    op.create_index(op.f("ix_jobs_tenant_model_name_id"), "jobs", ["tenant", "model_name", "id"])
    op.create_index(op.f("ix_jobs_tenant_kind_id"), "jobs", ["tenant", "kind", "id"])
    op.create_index(op.f("ix_jobs_tenant_status_id"), "jobs", ["tenant", "status", "id"])
    op.create_index(op.f("ix_jobs_parent_id_tenant_id"), "jobs", ["parent_id", "tenant", "id"])
    op.create_index(op.f("ix_jobs_model_id_status"), "jobs", ["model_id", "status"])
    op.create_index(op.f("ix_jobs_status_ended_at"), "jobs", ["status", "ended_at"])
    first = sa.text("priority DESC")
    _partial_index("ix_jobs_line", ["tenant", first, "queued_at", "id", "device"], QUEUED)
    _partial_index("ix_jobs_waiting", ["device", first, "queued_at", "id"], QUEUED)
    _partial_index("ix_jobs_trained", ["model_id", "ended_at"], TRAINED)
    op.drop_index(op.f("ix_keys_tenant"), "keys")
    op.create_index(op.f("ix_keys_tenant_id"), "keys", ["tenant", "id"])
    op.create_index(op.f("ix_models_tenant_id"), "models", ["tenant", "id"])
    op.create_index(op.f("ix_models_pinned_checkpoint"), "models", ["pinned_checkpoint"])

    op.create_table(
        "job_labels",
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("value", sa.String(length=100), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_labels_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "label", "value", "job_id", name=op.f("pk_job_labels")),
    )
    op.execute(LABELS[op.get_bind().dialect.name])
    op.create_index(op.f("ix_job_labels_job_id"), "job_labels", ["job_id"])


def _partial_index(name: str, columns: Sequence[str | sa.TextClause], where: sa.TextClause) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def _pins_and_sessions() -> None:
    op.add_column("models", sa.Column("serving_before", sa.JSON()))
    op.create_table(
        "pins",
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=120), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=40), nullable=False),
        sa.Column("replica", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double()),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_pins_model_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_pins_checkpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "role", name=op.f("pk_pins")),
    )
    op.create_index(op.f("ix_pins_checkpoint_id"), "pins", ["checkpoint_id"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("model_name", sa.String(length=100)),
        sa.Column("checkpoint_id", sa.String(length=40), nullable=False),
        sa.Column("replica", sa.Integer()),
        sa.Column("sequences", sa.Integer(), nullable=False),
        sa.Column("ttl", sa.Double(), nullable=False),
        sa.Column("owner", sa.String(length=40)),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary()),
        sa.Column("asked_at", sa.BigInteger()),
        sa.Column("asked_hash", sa.LargeBinary()),
        sa.Column("answer", sa.LargeBinary()),
        sa.Column("correlation", sa.String(length=255)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_sessions_checkpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("tenant", "correlation", name=op.f("uq_sessions_tenant_correlation")),
    )
    for columns in (["tenant", "id"], ["key_id"], ["checkpoint_id"], ["expires_at"]):
        op.create_index(op.f(f"ix_sessions_{'_'.join(columns)}"), "sessions", columns)
