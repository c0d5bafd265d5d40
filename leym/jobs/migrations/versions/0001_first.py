"""First version of the tables. New databases start at the newest version; older ones have at least this one."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Refuse: no migration creates this version."""
    raise RuntimeError("the first version of the job table is created by its program, never by a migration")
