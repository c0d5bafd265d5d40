"""Answers with the table of a sweep, in every format and for every query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from flask import Response

from app.conditional import NO_STORE, REVALIDATE
from app.downloads import file_response, temporary_file
from app.models.sweeps import TableQuery
from app.services import Services
from app.views import json_response, sweep_row
from leym.common.table_formats import column, encoded, text_column
from leym.common.table_query import Columns, Query, joined
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.contract.sweep_table import member_table, table_query


def table_response(services: Services, sweep_id: str, query: TableQuery) -> Response:
    """Answer with the table of a sweep.

    Raises:
        Problem: 404 if there is no such sweep; 422 if the query cannot be understood; 501 if a format needs a package
            that is not installed.
    """
    if query.format == "json":
        found, following = services.table.sweep_members(sweep_id, query.limit, query.cursor)
        if not (query.filter or query.sort):
            return json_response({"items": [sweep_row(job) for job in found], "next": following})
        chosen = joined(list(_run(query, found)))
        rows = chosen["index"].tolist() if chosen else []
        return json_response({"items": [sweep_row(found[row]) for row in rows], "next": following})
    found, _ = services.table.sweep_members(sweep_id, LIMITS.sweep_jobs)
    caching = REVALIDATE if all(job.final for job in found) else NO_STORE
    file = temporary_file()
    try:
        for part in encoded(_run(query, found), query.format):
            file.write(part)
    except ModuleNotFoundError as error:
        detail = f"format = {query.format!r} needs {error.name}, which is not installed: pip install 'leym[tables]'"
        raise Problem(501, "Not installed", detail) from error
    return file_response(file, query.format, f"{sweep_id}.{query.format}", caching)


def _run(query: TableQuery, members: Sequence[Job]) -> Iterator[Columns]:
    """Yield the rows that a query asks for. Raises Problem with status 422 if it cannot be understood."""
    axes = list(dict.fromkeys(key for job in members for key in job.point or ()))
    names = list(dict.fromkeys(name for job in members for name in job.observables_last or ()))
    try:
        chosen: Query = table_query(
            axes,
            names,
            filters=query.filter,
            sort=query.sort,
            descending=query.descending,
            aggregate=query.aggregate.split(",") if query.aggregate else (),
            over=None if query.over is None else [key for key in query.over.split(",") if key],
            values=query.value.split(",") if query.value else (),
        )
        yield from chosen.run(_columns(members, axes, names))
    except ValueError as error:
        raise Problem(422, "Invalid query", str(error), errors=[{"pointer": "", "detail": str(error)}]) from error


def _columns(members: Sequence[Job], axes: Iterable[str], observables: Iterable[str]) -> list[Columns]:
    """Return the columns of members that are rows of the job table."""
    own = {
        "index": np.arange(len(members)),
        "id": text_column([job.id for job in members]),
        "state": text_column([str(job.state) for job in members]),
        "step": column([job.step for job in members]),
        "steps": column([job.steps for job in members]),
        "stopped_at": np.full(len(members), np.nan),
        "error": text_column([job.error and (job.error.get("detail") or job.error["title"]) for job in members]),
    }
    values = {key: column([(job.point or {}).get(key) for job in members]) for key in axes}
    last = {
        name: np.array([(job.observables_last or {}).get(name, np.nan) for job in members], np.float64)
        for name in observables
    }
    return [member_table(own, values, last)]
