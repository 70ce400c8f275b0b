"""Adds turns of tenants, limits of keys and tenants, and what each job has stored and how long it has run."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
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
