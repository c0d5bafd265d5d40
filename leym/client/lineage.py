"""Time travel: extensions and forks of a job, its kept states, and its lineage as one dataset."""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from leym.client import results
from leym.client.http import Http, segment
from leym.client.requests import (
    FRAMES,
    GammaLike,
    Intervention,
    ObserveLike,
    RecordLike,
    observed_of,
    plain,
    planned,
    recordings,
)

if TYPE_CHECKING:
    import xarray

ANSWER = ("id", "state", "step", "steps", "spec", "law")
PAGE = 10_000  # states of one request


class TimeTravel:
    """The part of a Job that goes on from its states."""

    _http: Http
    _path: str
    _data: dict[str, Any]

    def __init__(self, http: Http, data: dict[str, Any]):
        self._http, self._data = http, data
        self._path = f"/v1/jobs/{segment(str(data['id']))}"

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return str(self._data["id"])

    @property
    def state(self) -> str:
        """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
        return str(self._data["state"])

    def refresh(self, wait_s: int = 0) -> Self:
        """Request the state of the job again, and return the job.

        Args:
            wait_s: the service answers when the state changes, or after this many seconds; 0: at once.
        """
        params = {"wait": wait_s} if wait_s else None
        self._data = self._http.json(
            "GET", self._path, having=ANSWER, params=params, timeout=self._http.timeout_s + wait_s
        )
        return self

    @property
    def parent(self) -> str | None:
        """The id of the job that this one continues, or None."""
        found: str | None = self._data.get("parent")
        return found

    @property
    def differs(self) -> dict[str, list[Any]]:
        """The keys in which the job differs from its parent: `{key: [value there, own value]}`."""
        return dict(self._data.get("differs") or {})

    def extend(
        self,
        steps: int,
        *,
        gamma: GammaLike | None = None,
        record: RecordLike | None = None,
        observe: ObserveLike | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        reuse: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Self:
        """Go on from the last state to a later step: `job.extend(1000)` of a job of 600 steps computes 601 to 1000.

        Everything that is not given is inherited. With nothing given, the result equals that of one longer job, bit
        for bit. `differs` of the new job says what is not the same.

        Args:
            steps: last step, counted from the start of the first job of the lineage.
            gamma: damping.
            record: fields to record, as in `Client.submit`.
            observe: observables, as in `Client.submit`.
            interventions: changes at given steps, as in `Client.submit`.
            keep_states: keep the complete state every so many steps.
            priority: 0 to 9.
            deadline_s: seconds after which a job that has not ended fails.
            ttl_s: seconds for which the results are kept after the job's end.
            tags: tags in the place of the job's own.
            reuse: True: an earlier job that has computed the same may be returned.
            idempotency_key: calls with the same key submit once; default: a new key.

        Returns:
            The queued job.

        Raises:
            ProblemError: the job has no last state, or a value is wrong.
        """
        given = {
            "gamma": gamma, "interventions": interventions, "keep_states": keep_states, "priority": priority,
            "deadline_s": deadline_s, "ttl_s": ttl_s, "tags": tags, "reuse": reuse,
        }  # fmt: skip
        return self._go_on("extend", {"steps": steps}, record, observe, given, idempotency_key)

    def fork(
        self,
        step: int,
        *,
        steps: int | None = None,
        gamma: GammaLike | None = None,
        seed: int | None = None,
        law: str | None = None,
        precision: str | None = None,
        record: RecordLike | None = None,
        observe: ObserveLike | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        reuse: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Self:
        """Go on from any kept state with other values: `job.fork(200, gamma=0.05, steps=600)`.

        Everything that is not given is inherited. `states()` lists the steps.

        Args:
            step: step of a kept state.
            steps: last step, counted from the start of the first job of the lineage.
            gamma: damping.
            seed: random numbers of a stochastic law from here on.
            law: name or name@digest of another law with as many channels.
            precision: "nf4", "int8", "bf16", "fp32" or "auto".
            record: fields to record, as in `Client.submit`.
            observe: observables, as in `Client.submit`.
            interventions: changes at given steps, as in `Client.submit`.
            keep_states: keep the complete state every so many steps.
            priority: 0 to 9.
            deadline_s: seconds after which a job that has not ended fails.
            ttl_s: seconds for which the results are kept after the job's end.
            tags: tags in the place of the job's own.
            reuse: True: an earlier job that has computed the same may be returned.
            idempotency_key: calls with the same key submit once; default: a new key.

        Returns:
            The queued job.

        Raises:
            ProblemError: no state is kept at that step, or a value is wrong.
        """
        given = {
            "steps": steps, "gamma": gamma, "seed": seed, "law": law, "precision": precision,
            "interventions": interventions, "keep_states": keep_states, "priority": priority, "deadline_s": deadline_s,
            "ttl_s": ttl_s, "tags": tags, "reuse": reuse,
        }  # fmt: skip
        return self._go_on("fork", {"step": step}, record, observe, given, idempotency_key)

    def states(self) -> list[dict[str, Any]]:
        """List the states from which other jobs can go on: step, kind and bytes of each.

        The kinds are "checkpoint" (kept by `keep_states`), "recorded" (a frame of psi) and "last".
        """
        found: list[dict[str, Any]] = []
        start: int | None = 0
        while start is not None:
            params = {"start": start, "limit": PAGE}
            page = self._http.json("GET", f"{self._path}/states", having=("items",), params=params)
            found += page["items"]
            start = page.get("next")
        return found

    def state_at(self, step: int) -> np.ndarray:
        """Read the complete state at the step of a kept state: psi, complex64 [H, W, d].

        Raises:
            ProblemError: no state is kept at that step.
        """
        response = self._http.request("GET", f"{self._path}/states/{step}", timeout=results.RENDER_S)
        found: np.ndarray = np.load(io.BytesIO(response.content), allow_pickle=False)
        return found

    def lineage(self) -> list[dict[str, Any]]:
        """List the jobs of the lineage, each after the one that it continues; deleted ones stay as records.

        Each has id, parent, relation ("ancestor", "self", "descendant" or "other"), state, from_step, to_step, steps,
        differs, deleted, readable, law, precision, spec and times.
        """
        return list(self._http.json("GET", f"{self._path}/lineage", having=("items",))["items"])

    def dataset(self, lineage: bool = False) -> xarray.Dataset:
        """Open the recorded fields and the observables as one xarray.Dataset.

        Args:
            lineage: join the frames of the jobs that this one continues: one timeline, no step twice. The values are
                downloaded then. A job whose results are gone is left out with a warning.

        Raises:
            ModuleNotFoundError: xarray or zarr is not installed (`pip install 'leym[data]'`).
        """
        own = results.opened(self._http, self._path)
        if not lineage:
            return own
        path = _path_to(self.lineage(), str(self._data["id"]))
        parts = []
        for node, following in pairwise(path):
            if node["readable"]:
                found = results.opened(self._http, f"/v1/jobs/{segment(node['id'])}")
                parts.append((found, int(following["from_step"])))
            else:
                warnings.warn(f"the results of job {node['id']} are gone: its steps are left out", stacklevel=2)
        return joined([*parts, (own, None)])

    def _go_on(
        self,
        kind: str,
        body: dict[str, Any],
        record: RecordLike | None,
        observe: ObserveLike | None,
        given: Mapping[str, Any],
        key: str | None,
    ) -> Self:
        every = max(1, int(body.get("steps") or given.get("steps") or self._data["steps"]) // FRAMES)
        if given.get("interventions"):
            given = {**given, "interventions": [planned(one) for one in given["interventions"]]}
        body |= {name: plain(value) for name, value in given.items() if value is not None}
        if isinstance(body.get("keep_states"), int):
            body["keep_states"] = {"every": body["keep_states"]}
        if record is not None:
            body["record"] = recordings(record, every)
        if observe is not None:
            body["observe"] = observed_of(observe, every)
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        made = self._http.json(
            "POST", f"{self._path}/{kind}", having=ANSWER, json=body, headers=headers, repeatable=True
        )
        return type(self)(self._http, made)


def joined(parts: list[tuple[xarray.Dataset, int | None]]) -> xarray.Dataset:
    """Join the datasets of a lineage along their steps.

    Args:
        parts: the dataset of each job, the first one first, and the last step that is taken of it; None: all.

    Returns:
        The variables of the last dataset. Those with the same steps share a dimension: `step` if there is one only.
    """
    import xarray

    last = parts[-1][0]
    found: dict[str, tuple[np.ndarray, np.ndarray, tuple[str, ...], dict[str, Any]]] = {}
    for name, variable in last.data_vars.items():
        steps, values = [], []
        for dataset, until in parts:
            if name in dataset:
                own = dataset[name]
                at = dataset[own.dims[0]].values
                chosen = slice(None) if until is None else at <= until
                steps.append(at[chosen])
                values.append(own.values[chosen])
        dims = tuple(str(dim) for dim in variable.dims)
        found[str(name)] = np.concatenate(steps), np.concatenate(values), dims, dict(variable.attrs)
    timelines = {steps.tobytes(): (dims[0], steps) for steps, _, dims, _ in found.values()}
    only = len(timelines) == 1
    names: dict[bytes, str] = {}
    for key, (dim, _) in timelines.items():
        names[key] = "step" if only else dim if dim not in names.values() else f"{dim}_{len(names)}"
    data = {
        name: ((names[steps.tobytes()], *dims[1:]), values, attributes)
        for name, (steps, values, dims, attributes) in found.items()
    }
    return xarray.Dataset(data, {names[key]: steps for key, (_, steps) in timelines.items()}, dict(last.attrs))


def _path_to(nodes: list[dict[str, Any]], job_id: str) -> list[dict[str, Any]]:
    """Return the jobs from the first one of a lineage to the given one."""
    by_id = {node["id"]: node for node in nodes}
    path = [by_id[job_id]]
    while path[0]["parent"] is not None:
        path.insert(0, by_id[path[0]["parent"]])
    return path
