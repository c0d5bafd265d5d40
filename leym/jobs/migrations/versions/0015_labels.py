"""Add names, notes, stars and changed tags of jobs and sweeps, and links that can be listed and revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add columns and a table. Links of earlier versions have no row: they hold until they expire."""
    for table in ("leym_jobs", "leym_sweeps"):
        for name in ("name", "note", "tags_now"):
            op.add_column(table, sa.Column(name, sa.Text))
        op.add_column(table, sa.Column("starred", sa.Integer, nullable=False, server_default="0"))
    star = sa.text("starred = 1")
    op.create_index("leym_jobs_starred", "leym_jobs", ["id"], sqlite_where=star, postgresql_where=star)
    op.create_table(
        "leym_links",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("subject", sa.String(26), nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.create_index("leym_links_subject", "leym_links", ["subject"])
