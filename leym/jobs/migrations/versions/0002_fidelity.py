"""Add the fidelity of a job's precision; Alembic keeps the version of the tables from now on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column `fidelity`, and replace `leym_schema` by Alembic's table."""
    op.add_column("leym_jobs", sa.Column("fidelity", sa.String(16), nullable=False, server_default="unverified"))
    op.execute("UPDATE leym_jobs SET fidelity = 'exact' WHERE precision = 'fp32'")
    op.drop_table("leym_schema")
