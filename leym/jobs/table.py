"""JobTable: the interface of the job table for the API and the workers."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from leym.jobs.add_members import AddMembers
from leym.jobs.database import Database
from leym.jobs.history import History
from leym.jobs.interventions import Interventions
from leym.jobs.labels import Labels
from leym.jobs.leases import Leases
from leym.jobs.lineage import Lineage
from leym.jobs.links import Links
from leym.jobs.migrate import SchemaError, bring_up_to_date
from leym.jobs.outbox import Outbox
from leym.jobs.progress import Progress
from leym.jobs.projects import Projects
from leym.jobs.queries import PlanCache
from leym.jobs.quotas import Quotas
from leym.jobs.reading import Reading
from leym.jobs.retention import Retention
from leym.jobs.reuse import Reuse
from leym.jobs.run_times import RunTimes
from leym.jobs.statistics import Statistics
from leym.jobs.sweep_life import SweepLife
from leym.jobs.sweeps import Sweeps
from leym.jobs.tokens import Tokens
from leym.jobs.webhooks import Webhooks
from leym.jobs.workers import Workers
from leym.settings import USAGE, Settings


class JobTable(
    AddMembers,
    Outbox,
    Reading,
    Leases,
    Progress,
    History,
    Interventions,
    Retention,
    Sweeps,
    SweepLife,
    Workers,
    Webhooks,
    Statistics,
    RunTimes,
    Tokens,
    Projects,
    Lineage,
    Reuse,
    Labels,
    Links,
):
    """Jobs, sweeps, workers and tokens in SQLite or PostgreSQL.

    Every method is one transaction, which is durable when the method returns. Any thread or process may call it. `now`
    is in seconds since 1970; the default is the clock of this machine.
    """

    def __init__(self, url: str | Path):
        """Open the job table: create missing tables, and migrate older ones.

        Args:
            url: a file of SQLite, as a path or as `sqlite:///file`, or `postgresql+psycopg://...`.

        Raises:
            leym.jobs.migrate.SchemaError: the tables are newer than this program.
        """
        self.db, self.plans = Database(url), PlanCache()
        try:
            with self.db.write() as connection:
                bring_up_to_date(connection)
        except BaseException:
            self.db.close()
            raise

    def of(self, project: str) -> JobTable:
        """Return the table as one project sees it: other jobs and sweeps are hidden, and new ones belong to it."""
        view = copy(self)
        view.project = project
        return view

    def close(self) -> None:
        """Close all connections. Later calls open new ones."""
        self.db.close()


def open_table(settings: Settings) -> JobTable:
    """Open the job table of the service, with the quotas and the default `ttl_s` of the settings.

    For the start of a process: if the table cannot be opened, one line names the wrong variable, and the process exits
    with code 2.
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
