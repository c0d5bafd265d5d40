"""What a JobSpec must still prove when its form is right: against its law, the store, and other jobs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.errors import problem_of_validation, shown
from app.services import Services
from leym.contract.fidelity_spec import FidelityRequest, FidelitySpec, spec_of
from leym.contract.problems import Problem
from leym.contract.records import FINAL, Job
from leym.contract.spec import LIMITS, FromJob, JobSpec, SweepSpec, Upload, inherit, with_point
from leym.frames.reader import FrameReader
from leym.frames.states import get_state
from leym.laws.bundle import Bundle
from leym.laws.verdicts import fidelity_status, resolve_precision


@dataclass(frozen=True)
class Accepted:
    """A job that can run: its law pinned by digest, its precision decided."""

    spec: JobSpec | FidelitySpec
    law: str
    precision: str
    d_state: int
    fidelity: str


def accept(services: Services, spec: JobSpec) -> Accepted:
    """Raises Problem 422 naming key, value and bound. Changes nothing."""
    return _Judge(services).accept(spec)


def accept_fidelity(bundle: Bundle, request: FidelityRequest) -> Accepted:
    """Raises Problem 422 when the law cannot run on the grid. Changes nothing."""
    spec = spec_of(bundle.ref, request)
    _check_sides(bundle, spec.grid)
    manifest, precision = bundle.manifest, request.precision
    return Accepted(spec, bundle.ref, precision, manifest.d_state, fidelity_status(bundle, precision))


def accept_sweep(services: Services, sweep: SweepSpec) -> list[tuple[dict[str, Any], Accepted]]:
    """Every point with its accepted job, in order. Raises Problem 422 at the first that is none."""
    judge = _Judge(services)
    accepted = []
    for point in sweep.points():
        member = with_point(sweep.base, point)
        try:
            accepted.append((point, judge.accept(JobSpec.model_validate(member))))
        except ValidationError as error:
            raise _of_member(problem_of_validation(error, body=member), sweep) from error
        except Problem as error:
            raise _of_member(error, sweep) from error
    total = sum(a.spec.stored_bytes(a.d_state) for _, a in accepted)
    if total > LIMITS.sweep_bytes:
        detail = f"the recordings of {len(accepted)} jobs take {total} bytes; at most {LIMITS.sweep_bytes}"
        raise _refused("/base/record", detail)
    return accepted


def take_in(
    services: Services, accepted: Accepted, idempotency_key: str | None, request: dict[str, Any] | None = None
) -> Job:
    """The job in the table, its ticket on the way; of a repeated request, the job of then.

    `request` is what the key stands for; by default the spec of the job.
    """
    job, created = services.table.submit(
        accepted.spec,
        law=accepted.law,
        precision=accepted.precision,
        d_state=accepted.d_state,
        fidelity=accepted.fidelity,
        idempotency_key=idempotency_key,
        request=request,
    )
    if created:
        services.send([job])
    return job


class _Judge:
    """Remembers laws and start states, so that ten thousand members of a sweep read each once."""

    def __init__(self, services: Services):
        self.services = services
        self._laws: dict[str, Bundle] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._jobs: dict[str, Job] = {}

    def accept(self, spec: JobSpec) -> Accepted:
        bundle = self._laws.get(spec.law) or self._laws.setdefault(spec.law, self.services.laws.resolve(spec.law))
        manifest = bundle.manifest
        _check_sides(bundle, spec.grid)
        stored = spec.stored_bytes(manifest.d_state)
        if stored > LIMITS.stored_bytes:
            raise _refused("/record", f"record = {stored} bytes of frames; at most {LIMITS.stored_bytes}")
        if isinstance(spec.initial, Upload):
            self._check_upload(spec.initial, spec, manifest.d_state)
        elif isinstance(spec.initial, FromJob):
            spec = inherit(spec, self._source(spec.initial, spec, manifest.d_state).spec)
        precision = resolve_precision(bundle, spec.precision)
        return Accepted(spec, bundle.ref, precision, manifest.d_state, fidelity_status(bundle, precision))

    def _check_upload(self, initial: Upload, spec: JobSpec, d_state: int) -> None:
        if initial.id not in self._shapes:
            try:
                self._shapes[initial.id] = get_state(self.services.store, initial.id).shape
            except Problem as error:
                if error.status != 404:
                    raise
                detail = f"initial.id = {shown(initial.id)}: there is no such uploaded state (POST /v1/states)"
                raise _refused("/initial/id", detail) from error
        found, wanted = self._shapes[initial.id], (*spec.grid, d_state)
        if found != wanted:
            detail = (
                f"initial.id = {shown(initial.id)}: its shape is {list(found)}; [H, W, d] = {list(wanted)} is needed"
            )
            raise _refused("/initial/id", detail)

    def _source(self, initial: FromJob, spec: JobSpec, d_state: int) -> Job:
        """The job that `spec` starts from. Raises Problem 422 when it has no such state."""
        if initial.job not in self._jobs:
            try:
                self._jobs[initial.job] = self.services.table.get(initial.job)
            except Problem as error:
                if error.status != 404:
                    raise
                raise _refused("/initial/job", f"initial.job = {shown(initial.job)}: there is no such job") from error
        source = self._jobs[initial.job]
        if why := source.gone(time.time()):
            raise _refused("/initial/job", f"initial.job = {shown(initial.job)}: its results {why}")
        found, wanted = (*source.spec["grid"], source.d_state), (*spec.grid, d_state)
        if found != wanted:
            detail = (
                f"initial.job = {shown(initial.job)}: its state is {list(found)}; [H, W, d] = {list(wanted)} is needed"
            )
            raise _refused("/initial/job", detail)
        if not self._has_psi(source, initial.step):
            detail = f"initial.step = {initial.step}: {_where_psi_is(source)}"
            raise _refused("/initial/step", detail)
        return source

    def _has_psi(self, job: Job, step: int) -> bool:
        """Whether the whole state at `step` is stored: as a committed frame of `psi`, or as the last checkpoint."""
        if job.state in FINAL and job.checkpoint and int(job.checkpoint["step"]) == step:
            return True
        if _psi_every(job) is None:
            return False
        return len(FrameReader(self.services.store, job).steps("psi", step, step + 1)) == 1


def _check_sides(bundle: Bundle, grid: tuple[int, int]) -> None:
    for i, side in enumerate(grid):
        if side % bundle.manifest.grid_multiple:
            bound = f"law {bundle.name!r} takes sides divisible by {bundle.manifest.grid_multiple}"
            raise _refused(f"/grid/{i}", f"grid.{i} = {side}: {bound}")


def _psi_every(job: Job) -> int | None:
    return next((int(r["every"]) for r in job.spec.get("record", ()) if r["field"] == "psi"), None)


def _where_psi_is(job: Job) -> str:
    every = _psi_every(job)
    kept = [f"every {every} steps up to {job.step}"] if every else []
    if job.state in FINAL and job.checkpoint:
        kept.append(f"at its last step {job.checkpoint['step']}")
    return f"job {job.id} has psi {' and '.join(kept)}" if kept else f"job {job.id} ({job.state}) has no psi recorded"


def _of_member(error: Problem, sweep: SweepSpec) -> Problem:
    """The same refusal, pointing at the axis or the base that the broken key comes from."""
    errors = [e | {"pointer": _in_sweep(e["pointer"], sweep)} for e in error.errors]
    return Problem(error.status, error.title, error.detail, kind=error.kind, errors=errors)


def _in_sweep(pointer: str, sweep: SweepSpec) -> str:
    path = pointer.removeprefix("/").split("/")
    for n in range(len(path), 0, -1):
        if ".".join(path[:n]) in sweep.axes:
            return "/axes/" + ".".join(path[:n])
    return "/base" + pointer


def _refused(pointer: str, detail: str) -> Problem:
    return Problem(422, "Invalid request", detail, errors=[{"pointer": pointer, "detail": detail}])
