"""Adds an index for each way in which jobs are listed, counted and claimed, and a table of their labels."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

QUEUED = sa.text("status = 'queued' AND driver = 'trainer'")
TRAINED = sa.text("status = 'succeeded' AND best_checkpoint IS NOT NULL")

LABELS = {
    "sqlite": "INSERT INTO job_labels (tenant, label, value, job_id)"
    " SELECT jobs.tenant, one.key, one.value, jobs.id FROM jobs, json_each(jobs.labels) AS one",
    "postgresql": "INSERT INTO job_labels (tenant, label, value, job_id)"
    " SELECT jobs.tenant, one.key, one.value, jobs.id FROM jobs, json_each_text(jobs.labels) AS one",
}


def upgrade() -> None:
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
