"""Checks well-formed specs against their law, the store and other jobs, before they become jobs.

The form of a spec is checked earlier, by the models in `leym.contract`. Nothing here changes anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.continuation import differences
from app.errors import excerpt, validation_problem
from app.services import Services
from app.sweep_checks import coupled_axes, members_to_check
from leym.contract.fidelity_spec import FidelityRequest, FidelitySpec, spec_of
from leym.contract.interventions import AnyIntervention, SetCells, SetGamma, misfits
from leym.contract.problems import Problem
from leym.contract.records import Job, Sweep
from leym.contract.spec import INHERITED, LIMITS, ComplexNoise, Continue, FromJob, JobSpec, StoredState, Upload, inherit
from leym.contract.stop_rules import StopRuleError, check_stop_rules
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import MoreMembers, SweepSpec, with_point
from leym.contract.training_spec import TrainingSpec
from leym.frames.kept import describe_states, has_state, state_kind
from leym.frames.states import get_state
from leym.laws.bundle import Bundle
from leym.laws.starts import check_start
from leym.laws.verdicts import fidelity_status, resolve_precision


@dataclass(frozen=True)
class ValidJob:
    """A job that can run: its law is pinned by digest and its precision is resolved."""

    spec: JobSpec | FidelitySpec | TrainingSpec
    law: str
    precision: str
    d_state: int
    fidelity: str
    differs: dict[str, Any] | None = None  # of a job that continues another one


def validate_job(services: Services, spec: JobSpec) -> ValidJob:
    """Return the job that a spec describes.

    Raises:
        Problem: 422 with the key, its value and the limit.
    """
    return _JobValidator(services).validate(spec)


def validate_intervention(services: Services, change: AnyIntervention | SetGamma, spec: JobSpec, d_state: int) -> None:
    """Check that a live intervention fits the law and the grid of a job.

    Raises:
        Problem: 422 with the key, its value and the limit.
    """
    _JobValidator(services).check_intervention(change, spec, d_state)


def validate_fidelity_job(bundle: Bundle, request: FidelityRequest) -> ValidJob:
    """Return the job that judges a precision of a law.

    Raises:
        Problem: 422 if the law cannot run on the grid.
    """
    spec = spec_of(bundle.ref, request)
    _check_grid(bundle, spec.grid)
    precision = request.precision
    return ValidJob(spec, bundle.ref, precision, bundle.manifest.d_state, fidelity_status(bundle, precision))


@dataclass(frozen=True)
class ValidSweep:
    """A sweep that can run.

    Attributes:
        plan: its members. Keys that the members inherit from the job that they start from are in its base.
        shapes: a job of each shape with the indices of its members: int64 [n].
        stored_bytes: uncompressed bytes of all recordings.
    """

    plan: SweepPlan
    shapes: list[tuple[ValidJob, NDArray[np.int64]]]
    stored_bytes: int


def validate_sweep(services: Services, sweep: SweepSpec, laws: Sequence[str] = ()) -> ValidSweep:
    """Check a sweep without building all of its members, and return its shapes.

    Members are chosen so that each value of each axis is in one of them, with the other axes at their first values,
    and so is each combination of values on the axes that depend on each other: all but seed, gamma and a start state
    without a source.

    Args:
        services: the services.
        sweep: the sweep.
        laws: versions of laws, name@digest, that the names of these laws stand for. Other names stand for the newest.

    Raises:
        Problem: 422 for the first chosen member that is not valid, with its index and the axis or base key to blame.
    """
    if sweep.base.get("webhook") is not None:
        detail = f"base.webhook = {excerpt(sweep.base['webhook'])}: the webhook of a sweep is beside its base"
        raise _refusal("/base/webhook", detail)
    plan = SweepPlan(sweep if laws else _with_start(services, sweep))  # a stored sweep says where its members start
    coupled = coupled_axes(plan)
    if (n := plan.count_groups(coupled)) > LIMITS.sweep_shapes:
        axes = ", ".join(map(repr, coupled))
        detail = f"the axes {axes} have {n} combinations, each of which is another shape; at most {LIMITS.sweep_shapes}"
        raise _refusal("/axes", detail)
    validator = _JobValidator(services, laws)
    found = {index: _validate_member(validator, plan, index) for index in members_to_check(plan, coupled)}
    plan = _with_inherited(plan, list(found.values()))
    shapes = [(found[int(shape.indices[0])], shape.indices) for shape in plan.shapes()]
    total = sum(len(indices) * job.spec.stored_bytes(job.d_state) for job, indices in shapes)
    if total > LIMITS.sweep_bytes:
        detail = f"the recordings of {plan.size} jobs take {total} bytes; the limit is {LIMITS.sweep_bytes}"
        raise _refusal("/base/record", detail)
    return ValidSweep(plan, shapes, total)


def _with_start(services: Services, sweep: SweepSpec) -> SweepSpec:
    """Return the sweep with the start state of its law in its base, unless the sweep names one.

    The members of a sweep over laws that names none start from noise.
    """
    base = sweep.base
    if "initial" in base or any(key.split(".")[0] in ("initial", "law") for key in sweep.axes):
        return sweep
    try:
        start = services.laws.resolve(str(base.get("law"))).manifest.default_start
    except Problem:
        return sweep  # refused with its first member, which says what is wrong
    if start == ComplexNoise():
        return sweep
    return sweep.model_copy(update={"base": {**base, "initial": start.model_dump(mode="json")}})


def validate_members(services: Services, sweep: Sweep, more: MoreMembers) -> ValidSweep:
    """Check members that are to be added to a sweep, as a sweep of their own.

    A law that the sweep has already keeps its version.

    Raises:
        Problem: 422 as for `validate_sweep`, or if the axes are not those of the sweep.
    """
    try:
        spec = more.of(SweepSpec.model_validate(sweep.spec))
    except ValueError as error:
        raise _refusal("/axes", str(error)) from error
    valid = validate_sweep(services, spec, services.table.laws_of(sweep.id))
    if changed := [key for key in INHERITED if valid.plan.base.get(key) != spec.base.get(key)]:
        detail = f"the sweep leaves out {changed[0]}, and these members would inherit it from the jobs they start from"
        raise _refusal("/axes/initial", f"{detail}; submit them as another sweep")
    return valid


def _validate_member(validator: _JobValidator, plan: SweepPlan, index: int) -> ValidJob:
    member = with_point(plan.base, plan.point(index))
    try:
        spec = JobSpec.model_validate(member)
        spec = spec.model_copy(update={"initial": spec.initial})  # as the plan has it, whatever the law's own start is
        check_stop_rules(plan.spec.stop, spec)
        if isinstance(spec.initial, Continue):
            raise _refusal(
                "/initial/kind", "initial.kind = 'continue': members of a sweep count their steps from 0; use 'state'"
            )
        if spec.reuse:
            raise _refusal("/reuse", "reuse = true: members of a sweep are always run; leave it out")
        return validator.validate(spec)
    except ValidationError as error:
        raise _with_sweep_pointers(validation_problem(error, body=member), plan.spec, index) from error
    except StopRuleError as error:
        raise _refusal(error.pointer, str(error)) from error
    except Problem as error:
        raise _with_sweep_pointers(error, plan.spec, index) from error


def _with_inherited(plan: SweepPlan, jobs: list[ValidJob]) -> SweepPlan:
    """Return the plan with the keys in its base that members inherit from the jobs that they start from.

    Raises:
        Problem: 422 if different members would inherit different values.
    """
    base = dict(plan.base)
    heirs = [job for job in jobs if isinstance(getattr(job.spec, "initial", None), FromJob)]
    for key in INHERITED:
        values = {getattr(job.spec, key) for job in heirs}
        if key in base or key in plan.axes or not values:
            continue
        if len(values) > 1 or len(heirs) < len(jobs):
            several = ", ".join(map(str, sorted(values, key=str)))
            detail = f"{key} is left out, and only some members would inherit {several}; set base.{key}"
            raise _refusal(f"/base/{key}", detail)
        value = values.pop()
        base[key] = [list(point) for point in value] if isinstance(value, tuple) else value  # as JSON has a schedule
    return SweepPlan(plan.spec.model_copy(update={"base": base})) if base != plan.base else plan


class _JobValidator:
    """Validates specs, and caches laws, start states and jobs: the members of a large sweep share them."""

    def __init__(self, services: Services, laws: Sequence[str] = ()):
        self.services = services
        names = Counter(ref.partition("@")[0] for ref in laws)
        self._versions = {name: ref for ref in laws if names[name := ref.partition("@")[0]] == 1}
        self._laws: dict[str, Bundle] = {}
        self._state_shapes: dict[str, tuple[int, ...]] = {}
        self._jobs: dict[str, Job] = {}

    def validate(self, spec: JobSpec) -> ValidJob:
        if spec.law not in self._laws:
            self._laws[spec.law] = self.services.laws.resolve(self._versions.get(spec.law, spec.law))
        bundle = self._laws[spec.law]
        manifest = bundle.manifest
        _check_grid(bundle, spec.grid)
        stored = spec.stored_bytes(manifest.d_state)
        if stored > LIMITS.stored_bytes:
            raise _refusal("/record", f"record = {stored} bytes of frames; the limit is {LIMITS.stored_bytes}")
        if "initial" not in spec.model_fields_set:
            spec = spec.model_copy(update={"initial": manifest.default_start})
        try:
            check_start(manifest.constraint, spec.initial)
        except ValueError as error:
            raise _refusal("/initial/kind", str(error)) from error
        for i, one in enumerate(spec.interventions):
            self.check_intervention(one, spec, manifest.d_state, f"interventions.{i}.")
        if isinstance(spec.initial, Upload):
            self._check_upload("initial.id", spec.initial.id, spec, manifest.d_state)
        elif isinstance(spec.initial, StoredState):
            source = self._source_job(spec.initial, spec, manifest.d_state)
            spec = inherit(spec, source.spec)
            if isinstance(spec.initial, Continue):
                self._check_memory(spec, bundle, source, spec.initial.step)
        precision = resolve_precision(bundle, spec.precision)
        differs = None
        if isinstance(spec.initial, Continue):
            differs = differences(source, spec, bundle.ref, precision)
        return ValidJob(spec, bundle.ref, precision, manifest.d_state, fidelity_status(bundle, precision), differs)

    def check_intervention(
        self, one: AnyIntervention | SetGamma, spec: JobSpec, d_state: int, prefix: str = ""
    ) -> None:
        """Refuse an intervention that does not fit the law and the grid of a job; `prefix` leads to its keys."""
        for reason in misfits(one, spec.grid, d_state):
            raise _refusal(_pointer(prefix + reason.partition(" ")[0]), prefix + reason)
        if isinstance(one, SetCells) and one.state is not None:
            self._check_upload(f"{prefix}state", one.state, spec, d_state)

    def _check_upload(self, key: str, state: str, spec: JobSpec, d_state: int) -> None:
        if state not in self._state_shapes:
            try:
                self._state_shapes[state] = get_state(self.services.store, state).shape
            except Problem as error:
                if error.status != 404:
                    raise
                detail = f"{key} = {excerpt(state)}: there is no such uploaded state (POST /v1/states)"
                raise _refusal(_pointer(key), detail) from error
        shape, required = self._state_shapes[state], (*spec.grid, d_state)
        if shape != required:
            detail = (
                f"{key} = {excerpt(state)}: its shape is {list(shape)}; this job needs [H, W, d] = {list(required)}"
            )
            raise _refusal(_pointer(key), detail)

    def _check_memory(self, spec: JobSpec, bundle: Bundle, source: Job, step: int) -> None:
        """Check that the state from which a job continues another one has the memory that its law needs."""
        if not bundle.manifest.architecture_info.memory:
            return
        if source.law != bundle.ref:
            detail = f"law = {excerpt(spec.law)}: it has a memory, which goes on from states of the same version only; "
            raise _refusal("/law", f"{detail}job {source.id} has run {source.law}")
        if state_kind(source, step) == "recorded":
            detail = f"initial.step = {step}: law {bundle.name!r} has a memory, and a recorded frame of psi has none"
            raise _refusal("/initial/step", f"{detail}; go on from a kept state (keep_states) or from the last state")

    def _source_job(self, initial: StoredState, spec: JobSpec, d_state: int) -> Job:
        """Return the job that `spec` starts from, which must have a state of the right shape at that step."""
        subject = f"initial.job = {excerpt(initial.job)}"
        if initial.job not in self._jobs:
            try:
                self._jobs[initial.job] = self.services.table.get(initial.job)
            except Problem as error:
                if error.status != 404:
                    raise
                raise _refusal("/initial/job", f"{subject}: there is no such job") from error
        source = self._jobs[initial.job]
        if reason := source.gone(time.time()):
            raise _refusal("/initial/job", f"{subject}: its results {reason}")
        shape, required = (*source.spec["grid"], source.d_state), (*spec.grid, d_state)
        if shape != required:
            detail = f"{subject}: its state has the shape {list(shape)}; this job needs [H, W, d] = {list(required)}"
            raise _refusal("/initial/job", detail)
        if not has_state(source, initial.step):
            raise _refusal("/initial/step", f"initial.step = {initial.step}: {describe_states(source)}")
        return source


def _check_grid(bundle: Bundle, grid: tuple[int, int]) -> None:
    for i, side in enumerate(grid):
        if side % bundle.manifest.grid_multiple:
            rule = f"law {bundle.name!r} needs sides divisible by {bundle.manifest.grid_multiple}"
            raise _refusal(f"/grid/{i}", f"grid.{i} = {side}: {rule}")


def _with_sweep_pointers(error: Problem, sweep: SweepSpec, index: int) -> Problem:
    """Return the problem of a member with pointers to the axis or the base key that the broken key comes from."""
    errors = []
    for e in error.errors:
        axis = _axis_of(e["pointer"], sweep)
        pointer = "/base" + e["pointer"] if axis is None else f"/axes/{axis}"
        detail = e["detail"] if axis is None else f"member {index}: {e['detail']}"
        errors.append(e | {"pointer": pointer, "detail": detail})
    detail = "; ".join(e["detail"] for e in errors[:5]) if errors else error.detail
    return Problem(error.status, error.title, detail, kind=error.kind, errors=errors)


def _axis_of(pointer: str, sweep: SweepSpec) -> str | None:
    """Return the axis that a key of a member comes from; None if it comes from the base."""
    path = pointer.removeprefix("/").split("/")
    return next((key for n in range(len(path), 0, -1) if (key := ".".join(path[:n])) in sweep.axes), None)


def _pointer(key: str) -> str:
    return "/" + key.replace(".", "/")


def _refusal(pointer: str, detail: str) -> Problem:
    return Problem(422, "Invalid request", detail, errors=[{"pointer": pointer, "detail": detail}])
