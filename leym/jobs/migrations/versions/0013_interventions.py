"""Add the live interventions of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the table of interventions that users ask for while a job waits or runs."""
    op.create_table(
        "leym_interventions",
        sa.Column("job", sa.String(26), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("step", sa.BigInteger),
    )
    op.create_index(
        "leym_interventions_pending",
        "leym_interventions",
        ["job"],
        sqlite_where=sa.text("step IS NULL"),
        postgresql_where=sa.text("step IS NULL"),
    )
