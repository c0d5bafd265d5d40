"""Add webhooks and their deliveries, the claims of a job, its device seconds, and what a quote would have predicted."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

BUCKETS = 16


def upgrade() -> None:
    """Add columns and tables. Webhooks that earlier versions stored in specs are not called."""
    for name, kind in (
        ("webhook", sa.Text),
        ("event", sa.String(26)),
        ("history", sa.Text),
        ("predicted_s", sa.Double),
    ):
        op.add_column("leym_jobs", sa.Column(name, kind))
    op.add_column("leym_jobs", sa.Column("device_s", sa.Double, nullable=False, server_default="0"))
    op.add_column("leym_sweeps", sa.Column("webhook", sa.Text))
    op.add_column("leym_sweeps", sa.Column("event", sa.String(26)))
    called = sa.text("webhook IS NOT NULL AND event IS NULL")
    op.create_index("leym_jobs_webhook", "leym_jobs", ["state", "id"], sqlite_where=called, postgresql_where=called)
    op.create_index("leym_sweeps_webhook", "leym_sweeps", ["id"], sqlite_where=called, postgresql_where=called)
    op.create_table(
        "leym_deliveries",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("subject", sa.String(26), nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("log", sa.Text, nullable=False),
    )
    op.create_index("leym_deliveries_subject", "leym_deliveries", ["subject"])
    op.create_index("leym_deliveries_project", "leym_deliveries", ["project", "id"])
    for name, columns, condition in (
        ("leym_deliveries_next", ["next_at"], "next_at IS NOT NULL"),
        ("leym_deliveries_state", ["state", "attempts"], "state != 'delivered'"),
    ):
        some = sa.text(condition)
        op.create_index(name, "leym_deliveries", columns, sqlite_where=some, postgresql_where=some)
    op.create_table(
        "leym_webhook_secrets",
        sa.Column("project", sa.String(64), primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("previous_until", sa.Double),
    )
    names = ("kind", "bucket", "n", "sum")
    latencies = sa.table("leym_latencies", *(sa.column(name) for name in names))
    op.bulk_insert(latencies, [{"kind": "quote", "bucket": i, "n": 0, "sum": 0.0} for i in range(BUCKETS)])
