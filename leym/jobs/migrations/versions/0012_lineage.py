"""Add the columns of jobs that continue other jobs, and the key by which the same universe is found again."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0008"


def upgrade() -> None:
    """Add parent, begins_at, differs and reuse_key, with the indices of parent and reuse_key."""
    op.add_column("leym_jobs", sa.Column("parent", sa.String(26)))
    op.add_column("leym_jobs", sa.Column("begins_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("leym_jobs", sa.Column("differs", sa.Text))
    op.add_column("leym_jobs", sa.Column("reuse_key", sa.String(64)))
    for name, columns in (("parent", ["parent"]), ("reuse", ["reuse_key", "steps"])):
        some = sa.text(f"{columns[0]} IS NOT NULL")
        op.create_index(f"leym_jobs_{name}", "leym_jobs", columns, sqlite_where=some, postgresql_where=some)
