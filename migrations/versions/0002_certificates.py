"""Checkpoints carry the certificate that their constraints held."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("certificate", sa.JSON()))
