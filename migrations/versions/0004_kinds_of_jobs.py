"""Adds jobs of several kinds: facts and a summary instead of columns of training, artifacts, and what jobs read.

Each checkpoint now says what its weights are.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("driver", sa.String(length=20), nullable=False, server_default="trainer"))
        jobs.add_column(sa.Column("facts", sa.JSON(), nullable=False, server_default="{}"))
        jobs.add_column(sa.Column("summary", sa.JSON(), nullable=False, server_default="{}"))
        jobs.add_column(sa.Column("latest", sa.JSON(), nullable=False, server_default="{}"))
        jobs.add_column(sa.Column("parent_id", sa.String(length=40)))
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.add_column(sa.Column("network", sa.JSON(), nullable=False, server_default="{}"))
        checkpoints.add_column(sa.Column("dtype", sa.String(length=10), nullable=False, server_default="float32"))
        checkpoints.add_column(sa.Column("data", sa.JSON()))
        checkpoints.add_column(sa.Column("loss", sa.JSON()))
        checkpoints.add_column(sa.Column("contract_version", sa.Integer(), nullable=False, server_default="1"))
        checkpoints.add_column(sa.Column("summary", sa.JSON(), nullable=False, server_default="{}"))
    _move_rows(op.get_bind())
    # where Alembic makes the table again, it would make this index again without its DESC
    op.drop_index("ix_jobs_queue", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        for name in ("parameters", "baseline_loss", "loss", "diverged", "stopped", "stopped_replicas"):
            jobs.drop_column(name)
        jobs.alter_column("driver", existing_type=sa.String(length=20), existing_nullable=False, server_default=None)
        for name in ("facts", "summary", "latest"):
            jobs.alter_column(name, existing_type=sa.JSON(), existing_nullable=False, server_default=None)
        jobs.create_foreign_key(op.f("fk_jobs_parent_id"), "jobs", ["parent_id"], ["id"], ondelete="SET NULL")
        jobs.create_index(op.f("ix_jobs_parent_id"), ["parent_id"])
    op.create_index("ix_jobs_queue", "jobs", ["status", sa.text("priority DESC"), "queued_at", "id", "device"])
    with op.batch_alter_table("checkpoints") as checkpoints:
        for name in ("network", "summary"):
            checkpoints.alter_column(name, existing_type=sa.JSON(), existing_nullable=False, server_default=None)
        checkpoints.alter_column("dtype", existing_type=sa.String(10), existing_nullable=False, server_default=None)
        checkpoints.alter_column(
            "contract_version", existing_type=sa.Integer(), existing_nullable=False, server_default=None
        )

    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_artifacts_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_artifacts_sha256")),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_artifacts")),
    )
    op.create_index(op.f("ix_artifacts_sha256"), "artifacts", ["sha256"])
    op.create_table(
        "inputs",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_inputs_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "checkpoint_id", name=op.f("pk_inputs")),
    )
    op.create_index(op.f("ix_inputs_checkpoint_id"), "inputs", ["checkpoint_id"])


def _move_rows(connection: sa.Connection) -> None:
    """Turn the columns of training into facts and summaries, and copy what a job says about its checkpoints to them."""
    names = ("config", "loss", "diverged", "stopped_replicas")
    jobs = sa.table(
        "jobs",
        *(sa.column(name, sa.JSON) for name in (*names, "facts", "summary", "latest")),
        *(sa.column(name) for name in ("id", "parameters", "baseline_loss", "total", "stopped", "contract_version")),
    )
    checkpoints = sa.table(
        "checkpoints",
        *(sa.column(name, sa.JSON) for name in ("network", "data", "loss", "summary")),
        *(sa.column(name) for name in ("id", "job_id", "step", "dtype", "contract_version")),
    )
    for job in connection.execute(sa.select(jobs)).all():
        config = job.config
        lists = {"diverged": job.diverged or [], "stopped_replicas": job.stopped_replicas or []}
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == job.id)
            .values(
                facts={"parameters": job.parameters, "baseline_loss": job.baseline_loss, "total": job.total},
                summary=_said(lists, None) | ({"stopped": job.stopped} if job.stopped else {}),
                latest={} if job.loss is None else {"loss": job.loss},
            )
        )
        saved = sa.select(checkpoints.c.id, checkpoints.c.step).where(checkpoints.c.job_id == job.id)
        for checkpoint in connection.execute(saved).all():
            connection.execute(
                sa.update(checkpoints)
                .where(checkpoints.c.id == checkpoint.id)
                .values(
                    network=config["model"],
                    dtype=config.get("dtype", "float32"),
                    data=config["data"],
                    loss=config["training"].get("loss", {"type": "mse"}),
                    contract_version=job.contract_version,
                    summary=_said(lists, checkpoint.step),
                )
            )


def _said(lists: dict[str, Any], step: int | None) -> dict[str, Any]:
    """Return what was reported up to a step."""
    upto = {name: [one for one in items if step is None or one["step"] <= step] for name, items in lists.items()}
    return {name: items for name, items in upto.items() if items}
