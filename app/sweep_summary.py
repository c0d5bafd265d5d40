"""Summarises a sweep: counts, progress, and how the last observables of its members are distributed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services import Services
from app.sweep_tables import values_of
from leym.contract.records import Job, Sweep
from leym.jobs.members import BlockRow

PAGE = 1000  # rows of a sweep of version 0.1.0 that are read at once


def distributions(services: Services, sweep: Sweep, bins: int) -> dict[str, dict[str, Any]]:
    """Return the distribution of each observable over the members, as `Distribution`, at their last observed steps.

    Members without a finite value are left out.

    Raises:
        Problem: 503 if the values of a block cannot be read.
    """
    columns: dict[str, list[NDArray[np.float64]]] = {}
    for part in _values(services, sweep):
        for name, values in part.items():
            columns.setdefault(name, []).append(values[np.isfinite(values)])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return {name: _distribution(values, bins) for name, values in joined.items() if len(values)}


def _values(services: Services, sweep: Sweep) -> Iterator[Mapping[str, NDArray[np.float64]]]:
    """Iterate over the last observables of the members, some at a time: float64 [n] by name."""
    if not sweep.blocks:
        yield from _of_rows(services, sweep)
        return
    for row in services.table.blocks(sweep.id):
        if row.manifest:
            kept = BlockRow.of(row).kept
            yield {name: values[kept] for name, values in values_of(services, row).items()}


def _of_rows(services: Services, sweep: Sweep) -> Iterator[Mapping[str, NDArray[np.float64]]]:
    cursor: str | None = None
    while True:
        jobs, cursor = services.table.sweep_members(sweep.id, PAGE, cursor)
        yield _columns(jobs)
        if cursor is None:
            return


def _columns(jobs: list[Job]) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[float]] = {}
    for job in jobs:
        for name, value in (job.observables_last or {}).items():
            found.setdefault(name, []).append(np.nan if value is None else value)
    return {name: np.array(values, np.float64) for name, values in found.items()}


def _distribution(values: NDArray[np.float64], bins: int) -> dict[str, Any]:
    counts, edges = np.histogram(values, bins)
    return {
        "members": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }
