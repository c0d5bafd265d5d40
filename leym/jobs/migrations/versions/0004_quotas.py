"""Add the size of results, which the collector sets for ended jobs, and the time of the last refused claim."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns `stored_bytes` and `put_off_at`, and an index of sizes."""
    op.add_column("leym_jobs", sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("leym_jobs", sa.Column("put_off_at", sa.Double))
    stores = sa.text("stored_bytes > 0")
    op.create_index(
        "leym_jobs_stored", "leym_jobs", ["project", "stored_bytes"], sqlite_where=stores, postgresql_where=stores
    )
