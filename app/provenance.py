"""Collects the provenance of a job or a sweep for exports: its row, its lineage, and the verdict on its precision."""

from __future__ import annotations

from math import isfinite
from typing import Any

from app.services import Services
from leym.contract.problems import Problem
from leym.contract.provenance import provenance, sweep_provenance
from leym.contract.records import Job, Sweep
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, read_head


def provenance_of(services: Services, job: Job) -> dict[str, Any]:
    """Return the provenance of a job or of a member of a sweep.

    A job that it continues may have been deleted: its row stays. A law may have been removed: then there is no verdict.
    """
    ancestors = services.table.ancestors(job) if job.parent else ()
    return provenance(job, verdict_on(services, job), ancestors)


def provenance_of_sweep(services: Services, sweep: Sweep) -> dict[str, Any]:
    """Return the provenance of a sweep.

    Raises:
        Problem: 404 if there is no row of it any more.
    """
    first = first_row(services, sweep)
    return sweep_provenance(sweep, first, verdict_on(services, first))


def first_row(services: Services, sweep: Sweep) -> Job:
    """Return the row of a sweep's first block, or its first member in a sweep of version 0.1.0."""
    return services.table.first_block(sweep.id) or services.table.member(sweep.id, 0)


def law_of(services: Services, reference: str) -> Bundle | None:
    """Return the version of a law that a job ran; None if it was removed, or if a training has not made it yet."""
    if "@" not in reference:
        return None
    try:
        return services.laws.resolve(reference)
    except Problem:
        return None


def verdict_on(services: Services, job: Job) -> dict[str, Any] | None:
    """Return what the fidelity gate says today of the precision of a job: verdict, time, power and reasons."""
    bundle = law_of(services, job.law)
    if bundle is None or job.precision == "fp32":
        return None
    return _summary(read_head(bundle, job.precision, data=services.settings.data))


def _summary(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    power = verdict.power if isfinite(verdict.power) else None
    found = {"verdict": verdict.verdict, "created": verdict.created, "power": power, "reasons": verdict.reasons}
    return found | {"precision": verdict.precision, "versions": verdict.versions}
