"""Turns Python arguments into the body of a request, for jobs and start states. The service validates it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from leym.contract.initial import InitialState
from leym.contract.interventions import Part
from leym.contract.spec import JobSpec, Observe, Recording

FRAMES = 100  # a recording without a schedule gets about so many frames

GammaLike = float | Sequence[tuple[int, float]] | Sequence[Sequence[float]]
InitialLike = Mapping[str, Any] | InitialState
Intervention = Mapping[str, Any] | Part
RecordLike = str | Mapping[str, int] | Iterable[str | Recording | Mapping[str, Any]]
ObserveLike = bool | int | Iterable[str] | Observe | Mapping[str, Any]

KINDS = {"strength": "complex_noise", "scale": "smooth", "re": "smooth", "im": "smooth", "id": "upload"}


def job_body(
    law: str | JobSpec,
    *,
    grid: int | tuple[int, int] = (64, 64),
    steps: int = 1000,
    record: RecordLike = (),
    observe: ObserveLike | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Make the JSON of a JobSpec.

    Args:
        law: name or name@digest; or a JobSpec, which is used without the keys that were not set, and then the other
            arguments are ignored.
        grid: (H, W) in cells, or one number for a square.
        steps: number of steps.
        record: `{"phase": 10}` (field: every), or a list of fields, Recordings or `{"field", "every", "dtype"}`.
        observe: every n steps (`10`), names (`["activity"]`), `True`, an Observe or `{"every", "names"}`.
        **spec: any other key of a JobSpec; `keep_states=100` stands for `{"every": 100}`.

    Fields and observables without a schedule get `steps // 100`, at least 1.
    """
    if isinstance(law, JobSpec):
        document = law.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in document.items() if key in law.model_fields_set}
    every = max(1, steps // FRAMES)
    body: dict[str, Any] = {"law": law, "grid": sides_of(grid), "steps": steps, "record": recordings(record, every)}
    observed = observed_of(observe, every)
    if observed is not None:
        body["observe"] = observed
    given = {key: value for key, value in spec.items() if value is not None}
    if "interventions" in given:
        given["interventions"] = [planned(one) for one in given["interventions"]]
    if isinstance(given.get("keep_states"), int):
        given["keep_states"] = {"every": given["keep_states"]}
    if isinstance(given.get("initial"), Mapping):
        given["initial"] = with_kind(given["initial"])
    if "webhook" in given:
        given["webhook"] = webhook_of(given["webhook"])
    return {key: plain(value) for key, value in (body | given).items()}


def sides_of(grid: int | tuple[int, int]) -> list[int]:
    """Return a grid as [H, W]; one number is a square."""
    return [grid, grid] if isinstance(grid, int) else list(grid)


def webhook_of(webhook: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a webhook as a mapping; text is its URL."""
    return {"url": webhook} if isinstance(webhook, str) else webhook


def with_kind(initial: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
    """Return a start state with its kind, which the keys say if it is left out: `{"strength": 0.5}` is complex noise.

    Args:
        initial: the start state.
        more: further keys that it will get.
    """
    if "kind" in initial:
        return dict(initial)
    keys = [*initial, *more]
    kinds = {"state"} if "job" in keys else {KINDS[key] for key in keys if key in KINDS}
    return ({"kind": kinds.pop()} if len(kinds) == 1 else {}) | dict(initial)


def change_body(kind: str, step: int | None, change: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON of an intervention; a vector of complex numbers becomes pairs [re, im]."""
    given = {"kind": kind, "step": step} | dict(change)
    if given.get("vector") is not None and np.iscomplexobj(vector := np.asarray(given["vector"])):
        given["vector"] = np.stack([vector.real, vector.imag], axis=-1)
    return {key: plain(value) for key, value in given.items() if value is not None}


def state_file(psi: np.ndarray) -> bytes:
    """Make the npy file of a start state, complex [H, W, d], as complex64. Raises ValueError for other shapes."""
    array = np.ascontiguousarray(psi, dtype=np.complex64)
    if array.ndim != 3:
        raise ValueError(f"a state is [H, W, d]; got an array of shape {psi.shape}")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays, tuples and pydantic models into values that JSON has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def planned(change: Intervention) -> dict[str, Any]:
    """Make the JSON of one of a job's `interventions`."""
    whole: dict[str, Any] = dict(change) if isinstance(change, Mapping) else plain(change)
    return change_body(whole.pop("kind", ""), whole.pop("step", None), whole)


def recordings(record: RecordLike, every: int) -> list[dict[str, Any]]:
    """Make the `record` of a JobSpec; fields without a schedule are recorded every `every` steps."""
    if isinstance(record, str):
        record = [record]
    if isinstance(record, Mapping):
        return [{"field": field, "every": step} for field, step in record.items()]
    return [
        {"field": item, "every": every} if isinstance(item, str) else {"every": every, **plain(item)} for item in record
    ]


def observed_of(observe: ObserveLike | None, every: int) -> dict[str, Any] | None:
    """Make the `observe` of a JobSpec; without a schedule it is every `every` steps."""
    if observe is None or observe is False:
        return None
    if observe is True:
        return {"every": every}
    if isinstance(observe, int | np.integer):
        return {"every": int(observe)}
    if isinstance(observe, str):
        return {"every": every, "names": [observe]}
    if isinstance(observe, Mapping | Observe):
        return {"every": every, **plain(observe)}
    return {"every": every, "names": list(observe)}
