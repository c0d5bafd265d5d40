"""Add the time at which a job fails unless it has ended, so that a query finds overdue jobs."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column `deadline_at`, set it for live jobs, and index it."""
    op.add_column("leym_jobs", sa.Column("deadline_at", sa.Double))
    names = ("id", "state", "spec", "created_at", "deadline_at")
    jobs = sa.table("leym_jobs", *(sa.column(name) for name in names))
    live = jobs.c.state.in_(("queued", "running", "paused"))
    found = sa.select(jobs.c.id, jobs.c.spec, jobs.c.created_at).where(live, jobs.c.spec.contains('"deadline_s":'))
    connection = op.get_bind()
    for row in connection.execute(found).all():
        limit = json.loads(row.spec).get("deadline_s")
        if limit is not None:
            change = sa.update(jobs).where(jobs.c.id == row.id).values(deadline_at=row.created_at + limit)
            connection.execute(change)
    limited = sa.text("deadline_at IS NOT NULL")
    op.create_index(
        "leym_jobs_deadline", "leym_jobs", ["state", "deadline_at"], sqlite_where=limited, postgresql_where=limited
    )
