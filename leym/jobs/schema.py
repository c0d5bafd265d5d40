"""Tables and indices of the job table at its newest version (`leym.jobs.migrate`).

Specs, manifests and the like are JSON as text. Values that queries filter by or add up have columns of their own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

SHARDS = 8  # rows over which the totals are spread, so that writers rarely wait for each other
BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)  # s, and +Inf
# upper bounds of predicted / measured running times of quotes; as many as BOUNDS, since both are in `latencies`
RATIOS = (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
KINDS = ("total", "wait")  # kinds of latencies
QUOTE = "quote"  # the kind of the rows that count ratios

metadata = MetaData()

jobs = Table(
    "leym_jobs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("law", Text, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("fidelity", String(16), nullable=False, server_default="unverified"),
    Column("d_state", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Double),
    Column("error", Text),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("sweep", String(26)),
    Column("point", Text),
    Column("manifest", Text, nullable=False),
    Column("checkpoint", Text),
    Column("observables_last", Text),
    Column("deleted_at", Double),
    Column("project", String(64), nullable=False, server_default="default"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),  # size of the objects that the row names
    # Columns of blocks. The counts are of members that have ended; a single job has none, and `state` says its state.
    Column("members", Integer, nullable=False, server_default="1"),
    Column("indices", Text),  # `pack_ranges` of the members' indices; null for a single job
    Column("member_states", Text),  # `MemberStates`; null before the first commit
    # columns that are not part of the record `Job`
    Column("shape", Integer),  # of a block: number of the shape of its members in the sweep
    Column("first", BigInteger),  # of a block: least and greatest index
    Column("last", BigInteger),
    Column("succeeded", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("cancelled", Integer, nullable=False, server_default="0"),
    Column("moved", Integer, nullable=False, server_default="0"),  # members that other blocks have now
    Column("cancelling", Text),  # `pack_ranges` of the places that a user cancelled; null if there are none
    Column("law_name", Text, nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("remaining", BigInteger, nullable=False),  # steps - step
    Column("frames", BigInteger, nullable=False),  # committed frames of all arrays together
    Column("ticketed_at", Double),  # time of the last ticket
    Column("put_off_at", Double, key="held_back_at"),  # time of the last claim that was refused by quota_running
    Column("pool", String(16), nullable=False, server_default="simulation"),  # kind of the workers that may run it
    Column("deadline_at", Double),  # time at which the job fails unless it has ended
    # columns of jobs that continue other ones
    Column("parent", String(26)),  # the job that it continues
    Column("begins_at", BigInteger, nullable=False, server_default="0"),  # step from which it computes
    Column("differs", Text),  # JSON {key: [value of the parent, own value]}
    Column("reuse_key", String(64)),  # identifies the universe, whatever the number of steps (`leym.jobs.reuse`)
    Column("webhook", Text),  # URL to call at the end; null without a webhook
    Column("event", String(26)),  # the delivery that calls it; null until the end was noticed
    Column("history", Text),  # JSON per line: claims, and how they ended (`leym.jobs.history`)
    Column("device_s", Double, nullable=False, server_default="0"),  # seconds of the device, by share of the batch
    Column("predicted_s", Double),  # running time that a quote would have said at the submission
    # what users write on a job afterwards (`leym.jobs.labels`)
    Column("name", Text),
    Column("note", Text),
    Column("starred", Integer, nullable=False, server_default="0"),
    Column("tags_now", Text),  # JSON {key: value}; null until they are changed
)
_shown = jobs.c.deleted_at.is_(None)
Index("leym_jobs_state", jobs.c.state, jobs.c.id, sqlite_where=_shown, postgresql_where=_shown)
Index("leym_jobs_outbox", jobs.c.state, jobs.c.ticketed_at)
Index("leym_jobs_law", jobs.c.law_name, jobs.c.id)
Index("leym_jobs_sweep", jobs.c.sweep, jobs.c.id)
Index("leym_jobs_project", jobs.c.project, jobs.c.id)
_block = jobs.c.indices.is_not(None)
Index("leym_jobs_blocks", jobs.c.sweep, jobs.c.shape, jobs.c.first, sqlite_where=_block, postgresql_where=_block)
_stores = jobs.c.stored_bytes > 0
Index("leym_jobs_stored", jobs.c.project, jobs.c.stored_bytes, sqlite_where=_stores, postgresql_where=_stores)
_limited = jobs.c.deadline_at.is_not(None)
Index("leym_jobs_deadline", jobs.c.state, jobs.c.deadline_at, sqlite_where=_limited, postgresql_where=_limited)
_continues = jobs.c.parent.is_not(None)
Index("leym_jobs_parent", jobs.c.parent, sqlite_where=_continues, postgresql_where=_continues)
_reusable = jobs.c.reuse_key.is_not(None)
Index("leym_jobs_reuse", jobs.c.reuse_key, jobs.c.steps, sqlite_where=_reusable, postgresql_where=_reusable)
_called = jobs.c.webhook.is_not(None) & jobs.c.event.is_(None)
Index("leym_jobs_webhook", jobs.c.state, jobs.c.id, sqlite_where=_called, postgresql_where=_called)
_has_star = jobs.c.starred == 1
Index("leym_jobs_starred", jobs.c.id, sqlite_where=_has_star, postgresql_where=_has_star)
# Members of a row that have not ended with a state of their own. It is 1 for a single job, of which `state` says all.
LIVE_MEMBERS = jobs.c.members - jobs.c.succeeded - jobs.c.failed - jobs.c.cancelled - jobs.c.moved

tags = Table(
    "leym_tags",
    metadata,
    Column("tag", Text, primary_key=True),  # JSON [key, value]
    Column("job", String(26), primary_key=True),
    sqlite_with_rowid=False,
)

requests = Table(
    "leym_requests",
    metadata,
    Column("key", Text, primary_key=True),  # Idempotency-Key, preceded by the project
    Column("digest", String(64), nullable=False),
    Column("made", String(26), nullable=False),  # id of the job or sweep
    Column("created_at", Double, nullable=False),
)

sweeps = Table(
    "leym_sweeps",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("cancelled_at", Double),
    Column("project", String(64), nullable=False, server_default="default"),
    Column("blocks", Integer, nullable=False, server_default="0"),  # 0: each member is a row
    Column("paused_at", Double),  # null unless the sweep is paused
    Column("reserved", Integer, nullable=False, server_default="0"),  # ids for members; 0: just those of `size`
    Column("added", Text),  # JSON: members that were added (`Addition`), in the order of their indices
    Column("webhook", Text),  # as those of jobs
    Column("event", String(26)),
    Column("name", Text),
    Column("note", Text),
    Column("starred", Integer, nullable=False, server_default="0"),
    Column("tags_now", Text),
)
_called = sweeps.c.webhook.is_not(None) & sweeps.c.event.is_(None)
Index("leym_sweeps_webhook", sweeps.c.id, sqlite_where=_called, postgresql_where=_called)

deliveries = Table(
    "leym_deliveries",
    metadata,
    Column("id", String(26), primary_key=True),  # the webhook-id of every attempt
    Column("subject", String(26), nullable=False),  # job or sweep
    Column("project", String(64), nullable=False),
    Column("type", String(32), nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text),  # null until the first attempt; then the same bytes for all
    Column("state", String(16), nullable=False),  # pending, delivered or failed
    Column("attempts", Integer, nullable=False),  # since the event or the last replay
    Column("created_at", Double, nullable=False),
    Column(
        "next_at", Double
    ),  # time of the next attempt, or of another one if the current one is lost; null at the end
    Column("log", Text, nullable=False),  # JSON: the last attempts
)
Index("leym_deliveries_subject", deliveries.c.subject)
Index("leym_deliveries_project", deliveries.c.project, deliveries.c.id)
_waits = deliveries.c.next_at.is_not(None)
Index("leym_deliveries_next", deliveries.c.next_at, sqlite_where=_waits, postgresql_where=_waits)
_undelivered = deliveries.c.state != "delivered"
Index(
    "leym_deliveries_state",
    deliveries.c.state,
    deliveries.c.attempts,
    sqlite_where=_undelivered,
    postgresql_where=_undelivered,
)

webhook_secrets = Table(
    "leym_webhook_secrets",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("secret", Text, nullable=False),
    Column("previous", Text),  # signs too until `previous_until`
    Column("previous_until", Double),
)

interventions = Table(
    "leym_interventions",
    metadata,
    Column("job", String(26), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),  # the intervention as requested
    Column("created_at", Double, nullable=False),
    Column("step", BigInteger),  # step at which it acts; null while it waits, -1 if the job had no step left
)
_waits = interventions.c.step.is_(None)
Index("leym_interventions_pending", interventions.c.job, sqlite_where=_waits, postgresql_where=_waits)

tokens = Table(
    "leym_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),  # sha256 of the token
    Column("name", Text, nullable=False),
    Column("project", String(64), nullable=False),
    Column("scopes", Text, nullable=False),  # separated by spaces
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

links = Table(
    "leym_links",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("kind", String(8), nullable=False),  # job or sweep
    Column("subject", String(26), nullable=False),  # its id
    Column("project", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("revoked_at", Double),
)
Index("leym_links_subject", links.c.subject)

workers = Table(
    "leym_workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)

totals = Table(
    "leym_totals",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False, default=0)
        for name in ("submitted", "succeeded", "failed", "cancelled", "cell_steps", "frames")
    ),
)

latencies = Table(
    "leym_latencies",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),  # index of BOUNDS; the last one is +Inf
    Column("n", BigInteger, nullable=False),
    Column("sum", Double, nullable=False),
)
