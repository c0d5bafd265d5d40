"""What a worker does before it serves: have compiled what its first jobs will ask for."""

from __future__ import annotations

import logging
import time

from leym.contract.problems import Problem
from leym.contract.spec import stored_spec
from leym.engine.engine import Engine
from leym.jobs.table import JobTable
from leym.laws.bundle import Bundle
from leym.laws.registry import Registry
from leym.laws.verdicts import resolve_precision
from leym.settings import Settings
from workers.compile_cache import Shipping

log = logging.getLogger(__name__)

IN_USE_S = 4.0  # a worker is not ready until the buckets in use are, or this is over
IN_USE_MOST = 3

Wanted = list[tuple[Bundle, str, tuple[int, int]]]


def make_ready(engine: Engine, settings: Settings, table: JobTable, laws: Registry, shipping: Shipping | None) -> None:
    """Buckets named in LEYM_WARM are ready when this returns; those in use too, unless that takes long.

    Raises Problem 422 for a LEYM_WARM that names nothing.
    """
    engine.measure_ceilings()
    if shipping:
        try:
            log.info("%d compiled files came from the store", shipping.fetch())
        except OSError as error:
            log.warning("nothing compiled comes from the store: %s", error)
        shipping.start()
    for law, precision, grid in buckets_to_warm(settings.warm, laws):
        engine.warm(law, precision, grid)
    end = time.monotonic() + IN_USE_S
    for law, precision, grid in buckets_in_use(table, laws):
        try:
            engine.warm(law, precision, grid, max(0.0, end - time.monotonic()))
        except TimeoutError:
            log.info("%s %s is made ready while others are served", law.ref, precision)
        except Exception:  # its jobs will be told
            log.exception("%s %s could not be made ready", law.ref, precision)


def buckets_to_warm(wanted: str, laws: Registry) -> Wanted:
    """Of LEYM_WARM: `law/precision/HxW`, separated by commas, whose form the settings have checked.

    Raises Problem 422 for a law that is not there.
    """
    found: Wanted = []
    for entry in filter(None, (part.strip() for part in wanted.split(","))):
        law, precision, grid = entry.split("/")
        height, width = map(int, grid.split("x"))
        try:
            bundle = laws.resolve(law)
        except Problem as problem:
            raise Problem(422, "Invalid setting", f"LEYM_WARM = {entry!r}: {problem.detail}") from problem
        found.append((bundle, resolve_precision(bundle, precision), (height, width)))
    return found


def buckets_in_use(table: JobTable, laws: Registry) -> Wanted:
    """Those that most jobs wait for, or else those of the last jobs: what a worker will probably be asked for first."""
    waiting = sorted(table.buckets(), key=lambda bucket: -bucket["jobs"])
    keys = [(bucket["law"], bucket["precision"], tuple(bucket["grid"])) for bucket in waiting]
    if not keys:
        jobs, _ = table.list(limit=50)
        keys = [(job.law, job.precision, stored_spec(job.spec).grid) for job in jobs]
    found: Wanted = []
    for law, precision, grid in list(dict.fromkeys(keys))[:IN_USE_MOST]:
        try:
            found.append((laws.resolve(law), precision, grid))
        except Problem as problem:
            log.info("not warmed: %s", problem.detail)  # a law of another project, or one that has gone
    return found
