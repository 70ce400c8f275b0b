"""Adds sessions, the hidden state of live streams, and pins, the checkpoints that a model serves besides the first."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
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
