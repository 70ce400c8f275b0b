"""Replicas that were trained enough before the last step."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("stopped_replicas", sa.JSON()))
