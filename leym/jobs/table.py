"""The job table as the API and the workers use it."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from leym.jobs.database import Database
from leym.jobs.leases import Leases
from leym.jobs.migrate import SchemaError, bring_up_to_date
from leym.jobs.outbox import Outbox
from leym.jobs.progress import Progress
from leym.jobs.projects import Projects
from leym.jobs.quotas import Quotas
from leym.jobs.reading import Reading
from leym.jobs.retention import Retention
from leym.jobs.statistics import Statistics
from leym.jobs.submit import Submit
from leym.jobs.sweeps import Sweeps
from leym.jobs.tokens import Tokens
from leym.jobs.workers import Workers
from leym.settings import USAGE, Settings


class JobTable(Submit, Outbox, Reading, Leases, Progress, Retention, Sweeps, Workers, Statistics, Tokens, Projects):
    """Jobs, sweeps and workers in SQLite (a file, or `sqlite:///file`) or PostgreSQL (`postgresql+psycopg://...`).

    Every method is one transaction, durable when it returns, and may be called from any thread or process. `now`, in
    seconds since 1970, is the caller's clock unless given. Makes the tables if they are not there, and
    migrates older ones; raises leym.jobs.migrate.SchemaError if they are newer than this program.
    """

    def __init__(self, url: str | Path):
        self.db = Database(url)
        try:
            with self.db.write() as connection:
                bring_up_to_date(connection)
        except BaseException:
            self.db.close()
            raise

    def of(self, project: str) -> JobTable:
        """The same table as one project sees it: jobs and sweeps of others are not there, and new ones are its own."""
        seen = copy(self)
        seen.project = project
        return seen

    def close(self) -> None:
        """Close all connections. The table can be used on: it opens new ones."""
        self.db.close()


def open_table(settings: Settings) -> JobTable:
    """As the service uses it: with its quotas, and the ttl_s of jobs that state none.

    For the start of a process: a table that cannot be opened ends it with one line, which names the variable, and
    code 2.
    """
    try:
        table = JobTable(settings.database)
    except (SQLAlchemyError, SchemaError, OSError, ImportError, ValueError) as error:
        variable = "LEYM_DATABASE_URL" if settings.database_url else f"LEYM_DATA = {str(settings.data)!r}"
        print(f"{variable}: the job table cannot be opened: {_reason(error)}", file=sys.stderr)
        sys.exit(USAGE)
    table.quotas, table.ttl_s = Quotas.of(settings), settings.ttl_s or None
    return table


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error.name} is not installed: pip install 'leym[postgres]'"
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
