"""Tools that submit, steer and stop work. Each submission is quoted first and counts against the budget."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from leym.contract.sweeps import SweepSpec
from leym.mcp.arguments import Changes, JobId, Key, SweepId, Universe
from leym.mcp.service import Service, job_path, sweep_path

KEPT = (  # keys of a submitted job that its answer repeats
    *("id", "state", "step", "steps", "law", "precision", "fidelity", "parent", "from_step", "differs", "reuse"),
    "quote",
)
SIZED = ("grid", "record", "observe", "keep_states", "priority")  # inherited keys that the size of a job depends on


class Submitting:
    """Tools of one service; each public method is one."""

    def __init__(self, service: Service):
        self._service = service

    def quote(self, universe: Universe | None = None, sweep: SweepSpec | None = None) -> dict[str, Any]:
        """Say what a universe or a sweep would take, without submitting it: time, cell-steps, bytes, cost.

        Give one of the two. p50 is the median, p90 is what nine of ten jobs keep; null is not known.
        """
        if (universe is None) == (sweep is None):
            raise ValueError("give one of universe and sweep")
        request = {"job": universe.body()} if universe is not None else {"sweep": _sweep_body(sweep)}
        return self._service.answer(self._service.quote(request))

    def submit(self, universe: Universe, idempotency_key: Key = None) -> dict[str, Any]:
        """Run one universe: queue a job and return its id.

        Record what you want to look at later: `record` for pictures, `observe` for numbers, `keep_states` for forks.
        `status` with `wait_s` waits for it.
        """
        body = universe.body()
        return self._made(self._service.submit("/v1/jobs", body, {"job": body}, idempotency_key))

    def sweep(self, sweep: SweepSpec, idempotency_key: Key = None) -> dict[str, Any]:
        """Run many universes that differ in a few keys: queue one member per point of the axes.

        `base` is as the argument of `submit`. Observe something: `table` then has one row per member with the last
        observables.
        """
        body = _sweep_body(sweep)
        made = self._service.submit("/v1/sweeps", body, {"sweep": body}, idempotency_key)
        kept = ("id", "size", "state", "counts", "quote")
        return self._service.answer({key: made[key] for key in kept})

    def extend(
        self,
        job: JobId,
        steps: Annotated[int, Field(ge=1, description="last step, counted from the start of the first job")],
        changes: Changes = {},  # noqa: B006 - never changed, and its schema says that nothing is changed
        idempotency_key: Key = None,
    ) -> dict[str, Any]:
        """Run a job that has ended on to a later step. Everything that is not changed is inherited."""
        parent = self._service.job(job)
        return self._go_on("extend", parent, parent["step"], {"steps": steps}, changes, idempotency_key)

    def fork(
        self,
        job: JobId,
        step: Annotated[int, Field(ge=0, description="step of a kept state; the tool `states` lists them")],
        changes: Changes = {},  # noqa: B006 - as above
        idempotency_key: Key = None,
    ) -> dict[str, Any]:
        """Go on from a kept state of a job with other values, such as another gamma. `steps` is the last step."""
        return self._go_on("fork", self._service.job(job), step, {"step": step}, changes, idempotency_key)

    def intervene(
        self,
        job: JobId,
        kind: Annotated[
            Literal["vortex", "wave", "noise", "collapse", "set", "paint", "gamma"],
            Field(
                description="vortex (y, x, radius, charge), wave (ky, kx, region), noise (strength, region), collapse "
                "(to, region), set (vector or state, region), paint (y, x, radius, channel, phase), gamma (value)"
            ),
        ],
        change: Annotated[
            dict[str, Any],
            Field(
                description='keys of the kind, such as {"y": 32, "x": 32, "radius": 8}; a region is '
                '{"kind": "disc", "y": 32, "x": 32, "radius": 8} or {"kind": "box", …}'
            ),
        ],
        step: Annotated[int | None, Field(ge=0, description="step at which it acts; default: at once")] = None,
    ) -> dict[str, Any]:
        """Change the state or gamma of a job that waits or runs. Its spec then says at which step the change acted."""
        body = change | {"kind": kind} | ({} if step is None else {"step": step})
        path, headers = f"{job_path(job)}/interventions", {"Idempotency-Key": uuid.uuid4().hex}
        found = self._service.http.json(
            "POST", path, having=("number", "state"), json=body, headers=headers, repeatable=True
        )
        return self._service.answer(found)

    def cancel(self, job: JobId | None = None, sweep: SweepId | None = None) -> dict[str, Any]:
        """Stop a job or a sweep. What was recorded stays; the budget is not given back."""
        path = one_of(job, sweep)
        found = self._service.http.json("POST", f"{path}/cancel", having=("id", "state"), repeatable=True)
        return self._service.answer({key: found[key] for key in ("id", "state")})

    def _go_on(
        self,
        kind: str,
        parent: Mapping[str, Any],
        at: int,
        body: Mapping[str, Any],
        changes: Mapping[str, Any],
        key: str | None,
    ) -> dict[str, Any]:
        """Submit an extension or a fork of `parent`, from step `at`, quoted as the job that it will be."""
        sizes = {name: parent["spec"].get(name) for name in SIZED}
        quoted = {name: value for name, value in sizes.items() if value is not None}
        quoted |= {"law": parent["law"], "precision": parent["precision"], "steps": parent["steps"]}
        quoted |= {"initial": {"kind": "continue", "job": parent["id"], "step": at}}
        quoted |= {name: value for name, value in {**changes, **body}.items() if name not in ("step", "webhook")}
        made = self._service.submit(f"{job_path(parent['id'])}/{kind}", {**changes, **body}, {"job": quoted}, key)
        return self._made(made)

    def _made(self, made: Mapping[str, Any]) -> dict[str, Any]:
        return self._service.answer({key: made[key] for key in KEPT if made.get(key) is not None})


def _sweep_body(sweep: SweepSpec | None) -> dict[str, Any]:
    if sweep is None:
        raise TypeError("a sweep is expected")
    found: dict[str, Any] = sweep.model_dump(mode="json")
    return found


def one_of(job: str | None, sweep: str | None) -> str:
    """Return the path of a job or of a sweep. Raises ValueError unless one of the two is given."""
    if job is not None and sweep is None:
        return job_path(job)
    if sweep is not None and job is None:
        return sweep_path(sweep)
    raise ValueError("give one of job and sweep")
