"""Compiles what a worker's first jobs will probably need, before the worker serves."""

from __future__ import annotations

import logging
import time

from leym.contract.problems import Problem
from leym.engine.engine import Engine
from leym.jobs.table import JobTable
from leym.laws.bundle import Bundle
from leym.laws.registry import Registry
from leym.laws.verdicts import resolve_precision
from leym.settings import Settings
from workers.compile_cache import CompileCache

log = logging.getLogger(__name__)

IN_USE_S = 4.0  # a worker waits so long for the buckets in use, then serves while they are compiled
IN_USE_LIMIT = 3  # buckets in use that are compiled

Buckets = list[tuple[Bundle, str, tuple[int, int]]]  # law, precision, grid


def make_ready(
    engine: Engine, settings: Settings, table: JobTable, laws: Registry, compile_cache: CompileCache | None
) -> None:
    """Measure the device, download compiled code, and compile buckets.

    The buckets named in LEYM_WARM are ready on return; those in use too, unless that takes longer than IN_USE_S.

    Raises:
        Problem: LEYM_WARM names a law that does not exist (422).
    """
    engine.measure_ceilings()
    if compile_cache:
        try:
            log.info("%d compiled files came from the store", compile_cache.download())
        except OSError as error:
            log.warning("no compiled files come from the store: %s", error)
        compile_cache.start()
    for law, precision, grid in buckets_to_warm(settings.warm, laws):
        engine.warm(law, precision, grid)
    end = time.monotonic() + IN_USE_S
    for law, precision, grid in buckets_in_use(table, laws):
        try:
            engine.warm(law, precision, grid, max(0.0, end - time.monotonic()))
        except TimeoutError:
            log.info("%s %s is still compiled while other jobs are served", law.ref, precision)
        except Exception:  # jobs of this bucket fail with the reason
            log.exception("%s %s could not be compiled", law.ref, precision)


def buckets_to_warm(wanted: str, laws: Registry) -> Buckets:
    """Resolve the buckets that LEYM_WARM names.

    Args:
        wanted: `law/precision/HxW`, separated by commas; the settings have checked this form.
        laws: Where the laws are found.

    Raises:
        Problem: A law does not exist (422).
    """
    found: Buckets = []
    for entry in filter(None, (part.strip() for part in wanted.split(","))):
        law, precision, grid = entry.split("/")
        height, width = map(int, grid.split("x"))
        try:
            bundle = laws.resolve(law)
        except Problem as problem:
            raise Problem(422, "Invalid setting", f"LEYM_WARM = {entry!r}: {problem.detail}") from problem
        found.append((bundle, resolve_precision(bundle, precision), (height, width)))
    return found


def buckets_in_use(table: JobTable, laws: Registry) -> Buckets:
    """Return the buckets with the most waiting jobs, or, if no job waits, those of the newest jobs."""
    waiting = sorted(table.buckets(), key=lambda bucket: -bucket["jobs"])
    keys = [(bucket["law"], bucket["precision"], tuple(bucket["grid"])) for bucket in waiting]
    if not keys:
        jobs, _ = table.list(blocks=True, limit=50)
        keys = [(job.law, job.precision, job.grid) for job in jobs if not job.is_training]
    found: Buckets = []
    for law, precision, grid in list(dict.fromkeys(keys))[:IN_USE_LIMIT]:
        try:
            found.append((laws.resolve(law), precision, grid))
        except Problem as problem:  # a law of another project, or one that was deleted
            log.info("a bucket in use is not compiled in advance: %s", problem.detail)
    return found
