"""Add projects and tokens. Existing jobs and sweeps belong to the project `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns `project`, and the table of tokens."""
    for table in ("leym_jobs", "leym_sweeps"):
        op.add_column(table, sa.Column("project", sa.String(64), nullable=False, server_default="default"))
    op.create_index("leym_jobs_project", "leym_jobs", ["project", "id"])
    op.create_table(
        "leym_tokens",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
    )
