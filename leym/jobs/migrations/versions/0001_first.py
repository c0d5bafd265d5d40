"""The tables as they first were. New databases are made at the newest version; older ones are at least here."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    raise RuntimeError("a job table of the first version was made by its program, never by a migration")
