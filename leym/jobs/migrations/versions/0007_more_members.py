"""Add what is needed to add members to a sweep. Existing sweeps have no ids for more members."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the number of ids that a sweep has for its members, and the parts that were added to it."""
    op.add_column("leym_sweeps", sa.Column("reserved", sa.Integer, nullable=False, server_default="0"))
    op.add_column("leym_sweeps", sa.Column("added", sa.Text))
