"""Add the kind of the workers that may run a job. Existing jobs are simulations."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the pool of workers of a job."""
    op.add_column("leym_jobs", sa.Column("pool", sa.String(16), nullable=False, server_default="simulation"))
