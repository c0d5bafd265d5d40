"""The curve of a training in the store: one object, which each commit replaces by a longer one.

The manifest of the row names it: {"curve": {"key": "jobs/<id>/curve/000000400.2.0", "rows": 40, "bytes": ...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from leym.contract.records import Job
from leym.frames.layout import job_prefix
from leym.frames.stores.base import Store

Columns = dict[str, list[float]]


def put_curve(
    store: Store, job_id: str, epoch: int, update: int, names: Sequence[str], rows: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Write the curve of a training; it is durable when the function returns.

    Args:
        store: object store of the service.
        job_id: the training.
        epoch: epoch of the writer's claim.
        update: updates that are done.
        names: of the columns.
        rows: one number per column.

    Returns:
        The reference to commit.
    """
    data = json.dumps({"names": list(names), "rows": [list(row) for row in rows]}).encode()
    key = f"{job_prefix(job_id)}curve/{update:09d}.{epoch}.0"
    store.put(key, data)
    return {"key": key, "rows": len(rows), "bytes": len(data)}


def get_curve(store: Store, job: Job) -> Columns:
    """Read the committed curve of a training: each column by name, "update" first; empty before the first commit.

    Raises:
        leym.frames.stores.base.Missing: the object is not in the store; a commit may have replaced it meanwhile.
        OSError: the store does not answer.
    """
    reference: Mapping[str, Any] | None = job.manifest.get("curve")
    if reference is None:
        return {"update": []}
    found = json.loads(store.get(reference["key"]))
    columns = zip(*found["rows"], strict=True) if found["rows"] else ([] for _ in found["names"])
    return dict(zip(found["names"], map(list, columns), strict=True))
