"""Answers with the table of a sweep, in every format and for every query."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from flask import Response

from app.conditional import NO_STORE, REVALIDATE
from app.downloads import comment_line, file_response, temporary_file
from app.models.sweeps import TableQuery
from app.provenance import provenance_of_sweep
from app.services import Services
from app.views import json_response, sweep_row
from leym.common.table_formats import column, encoded, text_column
from leym.common.table_query import Columns, Query, joined, ordered
from leym.contract.ids import distance, id_after, ids_after
from leym.contract.limits import LIMITS
from leym.contract.member_states import MemberState
from leym.contract.problems import Problem
from leym.contract.provenance import KEY
from leym.contract.records import FINAL, Job, JobState, Sweep
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweep_table import member_table, table_query
from leym.frames.layout import arrays_of
from leym.frames.sweep_zarr import ATTEMPTS
from leym.frames.window import window_means
from leym.jobs.members import BlockRow
from leym.jobs.queries import check_cursor

Window = tuple[int, int] | None  # first and last step of a window of steps; None for the last observed one


def table_response(services: Services, sweep_id: str, query: TableQuery) -> Response:
    """Answer with the table of a sweep.

    Raises:
        Problem: 404 if there is no such sweep; 422 if the query cannot be understood; 501 if a format needs a package
            that is not installed; 503 if observables cannot be read.
    """
    if query.format == "json":
        return _page(services, sweep_id, query)
    sweep = services.table.get_sweep(sweep_id)
    found = table_chunks(services, sweep, query)
    ended = sum(sweep.counts.get(state, 0) for state in FINAL) >= sweep.size
    file, origin = temporary_file(), json.dumps(provenance_of_sweep(services, sweep))
    if query.provenance and query.format == "csv":
        file.write(comment_line(origin))
    try:
        for part in encoded(_refusing(found), query.format, {KEY: origin}):
            file.write(part)
    except ModuleNotFoundError as error:
        detail = f"format = {query.format!r} needs {error.name}, which is not installed: pip install 'leym[tables]'"
        raise Problem(501, "Not installed", detail) from error
    return file_response(file, query.format, f"{sweep_id}.{query.format}", REVALIDATE if ended else NO_STORE)


def table_chunks(services: Services, sweep: Sweep, query: TableQuery | None = None) -> Iterator[Columns]:
    """Yield the table of a sweep in pieces, or the result of a query on it."""
    query = query or TableQuery(format="csv")
    if sweep.blocks:
        return _of_blocks(services, sweep.id, query)
    return _of_rows(services, services.table.sweep_members(sweep.id, LIMITS.table_rows)[0], query)


def _page(services: Services, sweep_id: str, query: TableQuery) -> Response:
    """Answer with a page of rows whose point and observables are objects."""
    if query.filter or query.sort:
        found, following = _chosen_page(services, sweep_id, query)
    else:
        found, following = services.table.sweep_members(sweep_id, query.limit, query.cursor)
    found = _with_observables(services, found, query.steps)
    return json_response({"items": [sweep_row(job) for job in found], "next": following})


def _chosen_page(services: Services, sweep_id: str, query: TableQuery) -> tuple[list[Job], str | None]:
    """Read a page of the rows that a query chooses, in its order; the cursor counts the rows before the page."""
    members: list[Job] = []
    if services.table.get_sweep(sweep_id).blocks:
        chunks = _of_blocks(services, sweep_id, query)
    else:
        members = services.table.sweep_members(sweep_id, LIMITS.table_rows)[0]
        chunks = _of_rows(services, members, query)
    chosen = joined(list(_refusing(chunks)))
    indices = chosen["index"].tolist() if chosen else []
    start = 0 if query.cursor is None else max(distance(sweep_id, check_cursor(query.cursor)), 0)
    stop = start + query.limit
    following = id_after(sweep_id, stop) if stop < len(indices) else None
    if members:
        return [members[index] for index in indices[start:stop]], following
    return services.table.members_at(sweep_id, indices[start:stop]), following


def with_observables(services: Services, job: Job) -> Job:
    """Return a job with its last observables: those of a member of a sweep are read from the store.

    Raises:
        Problem: 503 if they cannot be read.
    """
    return job if job.block is None else _with_observables(services, [job])[0]


def _refusing(chunks: Iterable[Columns]) -> Iterator[Columns]:
    """Yield the chunks. Raises Problem with status 422 if the query that they come from cannot be understood."""
    try:
        yield from chunks
    except ValueError as error:
        raise Problem(422, "Invalid query", str(error), errors=[{"pointer": "", "detail": str(error)}]) from error


def _query(query: TableQuery, axes: Sequence[str], observables: Sequence[str]) -> Query:
    return table_query(
        axes,
        observables,
        filters=query.filter,
        sort=query.sort,
        descending=query.descending,
        aggregate=query.aggregate.split(",") if query.aggregate else (),
        over=None if query.over is None else [key for key in query.over.split(",") if key],
        values=query.value.split(",") if query.value else (),
    )


def _of_rows(services: Services, members: Sequence[Job], query: TableQuery) -> Iterator[Columns]:
    """Yield the result of a query on members, each of which is a job."""
    if query.steps is not None:
        members = _with_observables(services, members, query.steps)
    axes = list(dict.fromkeys(key for job in members for key in job.point or ()))
    names = list(dict.fromkeys(name for job in members for name in job.observables_last or ()))
    own = {
        "index": np.arange(len(members)),
        "id": text_column([job.id for job in members]),
        "state": text_column([str(job.state) for job in members]),
        "step": column([job.step for job in members]),
        "steps": column([job.steps for job in members]),
        "stopped_at": np.full(len(members), np.nan),
        "error": text_column([_reason(job.error) for job in members]),
    }
    values = {key: column([(job.point or {}).get(key) for job in members]) for key in axes}
    observed = [job.observables_last or {} for job in members]
    last = {name: np.array([values.get(name, np.nan) for values in observed], np.float64) for name in names}
    yield from _query(query, axes, names).run([member_table(own, values, last)])


def _of_blocks(services: Services, sweep_id: str, query: TableQuery) -> Iterator[Columns]:
    """Yield the result of a query on the members of blocks; a block is read when its rows are asked for."""
    blocks = [block for row in services.table.blocks(sweep_id) if len((block := BlockRow.of(row)).kept)]
    plan = services.table.sweep_plan(sweep_id)  # after the blocks: members may be added at any time
    blocks.sort(key=lambda block: int(block.indices[block.kept[0]]))
    axes = {key: column(values) for key, values in plan.axes.items()}
    tables = [array for block in blocks for array in arrays_of(block.row) if array.is_table]
    names = list(dict.fromkeys(name for array in tables for name in array.columns))
    chunks: Iterable[Columns] = (_of_block(services, plan, axes, names, block, query.steps) for block in blocks)
    ends = [(int(block.indices[block.kept[0]]), int(block.indices[block.kept[-1]])) for block in blocks]
    if any(last >= first for (_, last), (first, _) in pairwise(ends)):
        chunks = [ordered(joined(list(chunks)), "index")]  # blocks of several shapes, or that were split
    yield from _query(query, list(axes), names).run(chunks)


def _of_block(
    services: Services, plan: SweepPlan, axes: dict[str, Any], names: Sequence[str], block: BlockRow, window: Window
) -> Columns:
    """Return the columns of the members that a block has."""
    row, states, places = block.row, block.states, block.kept
    indices = block.indices[places]
    steps = states.step[places]
    state_names = text_column([str(row.state), "succeeded", "failed", "cancelled"])
    reasons = text_column([_reason(row.error), *map(_reason, states.problems)])
    own = {
        "index": indices,
        "id": text_column(ids_after(str(row.sweep), (1 + indices).tolist())),
        "state": state_names[states.state[places]],
        "step": np.maximum(steps, 0),
        "steps": np.full(len(places), row.steps // row.members),
        "stopped_at": np.where(states.stopped[places] > 0, steps, np.nan),
        "error": reasons[states.problem[places]],
    }
    failed = states.state[places] == MemberState.FAILED
    failed |= (states.state[places] == MemberState.LIVE) & (row.state == JobState.FAILED)  # they fail with their row
    own["error"][~failed] = None
    at = dict.fromkeys(axes, indices)
    if plan.mode == "product":
        at = dict(zip(axes, np.unravel_index(indices, [len(values) for values in axes.values()]), strict=True))
    observed = values_of(services, row, window)
    missing = np.full(row.members, np.nan)
    last = {name: observed.get(name, missing)[places] for name in names}
    return member_table(own, {key: values[at[key]] for key, values in axes.items()}, last)


def _with_observables(services: Services, members: Sequence[Job], window: Window = None) -> list[Job]:
    """Return members with their last observables, or with means over a window; each block is read once."""
    blocks = {str(job.block) for job in members if job.block is not None}
    observed = {row.id: values_of(services, row, window) for row in services.table.rows_of_blocks(list(blocks))}
    found = []
    for job in members:
        if job.block is None and window is None:
            found.append(job)
            continue
        source = values_of(services, job, window) if job.block is None else observed[job.block]
        values = {name: float(values[job.place]) for name, values in source.items()}
        known = {name: value if np.isfinite(value) else None for name, value in values.items()}
        found.append(replace(job, observables_last=known if any(v is not None for v in known.values()) else None))
    return found


def values_of(services: Services, row: Job, window: Window = None) -> Mapping[str, Any]:
    """Return the last observables of the members of a row, or their means over a window of steps.

    Commits of a running block replace the objects that have them, so reading is tried again.

    Raises:
        Problem: 503 if they cannot be read.
    """
    for attempt in range(ATTEMPTS):
        try:
            if not row.manifest:
                return {}
            if window is None:
                return services.ended_values.read(services.store, row)
            return window_means(services.store, row, *window)
        except Problem:
            if attempt == ATTEMPTS - 1:
                raise
            row = services.table.get(row.id) if row.indices is None else services.table.rows_of_blocks([row.id])[0]
    raise AssertionError("unreachable")


def _reason(problem: dict[str, Any] | None) -> str | None:
    return None if problem is None else str(problem.get("detail") or problem["title"])
