"""Adds to jobs the trace context of the request that submitted them, which workers write into their logs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=55)))
