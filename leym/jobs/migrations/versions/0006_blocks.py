"""Add blocks: rows of several members of a sweep. Existing sweeps keep their members as rows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns of blocks and of sweeps, and the index that finds the block of a member."""
    for name, default in (("members", "1"), ("succeeded", "0"), ("failed", "0"), ("cancelled", "0"), ("moved", "0")):
        op.add_column("leym_jobs", sa.Column(name, sa.Integer, nullable=False, server_default=default))
    for name, kind in (
        ("indices", sa.Text),
        ("member_states", sa.Text),
        ("shape", sa.Integer),
        ("first", sa.BigInteger),
        ("last", sa.BigInteger),
        ("cancelling", sa.Text),
    ):
        op.add_column("leym_jobs", sa.Column(name, kind))
    block = sa.text("indices IS NOT NULL")
    op.create_index(
        "leym_jobs_blocks", "leym_jobs", ["sweep", "shape", "first"], sqlite_where=block, postgresql_where=block
    )
    op.add_column("leym_sweeps", sa.Column("blocks", sa.Integer, nullable=False, server_default="0"))
    op.add_column("leym_sweeps", sa.Column("paused_at", sa.Double))
