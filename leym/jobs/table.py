"""The job table as the API and the workers use it."""

from __future__ import annotations

from copy import copy

from leym.jobs.database import Database
from leym.jobs.leases import Leases
from leym.jobs.migrate import bring_up_to_date
from leym.jobs.outbox import Outbox
from leym.jobs.progress import Progress
from leym.jobs.projects import Projects
from leym.jobs.quotas import Quotas
from leym.jobs.reading import Reading
from leym.jobs.retention import Retention
from leym.jobs.submit import Submit
from leym.jobs.sweeps import Sweeps
from leym.jobs.tokens import Tokens
from leym.jobs.totals import Totals
from leym.jobs.workers import Workers
from leym.settings import Settings


class JobTable(Submit, Outbox, Reading, Leases, Progress, Retention, Sweeps, Workers, Totals, Tokens, Projects):
    """Jobs, sweeps and workers in SQLite (`sqlite:///file`) or PostgreSQL (`postgresql+psycopg://...`).

    Every method is one transaction, durable when it returns, and may be called from any thread or process. `now`, in
    seconds since 1970, is the caller's clock unless given. Makes the tables if they are not there, and
    migrates older ones; raises leym.jobs.migrate.SchemaError if they are newer than this program.
    """

    def __init__(self, url: str):
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
    """As the service uses it: with its quotas, and the ttl_s of jobs that state none. Raises like JobTable."""
    table = JobTable(settings.database)
    table.quotas, table.ttl_s = Quotas.of(settings), settings.ttl_s or None
    return table
