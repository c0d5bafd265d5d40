"""Sweeps: the part of the client that submits, estimates and quotes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from leym.client.axes import GridAxis, Mode, StopLike, VariedInitial, VariedInt, VariedNumber, VariedText, sweep_request
from leym.client.connection import Connection
from leym.client.requests import Intervention, ObserveLike, RecordLike
from leym.client.sweep import SWEEP_KEYS, Sweep
from leym.contract.spec import JobSpec

LawAxis = str | JobSpec | Sequence[str] | None


class SweepSubmissions(Connection):
    """The part of `Client` that submits sweeps."""

    def sweep(
        self,
        law: LawAxis = None,
        axes: Mapping[str, Any] | None = None,
        mode: Mode = "product",
        *,
        grid: GridAxis | None = None,
        steps: VariedInt | None = None,
        record: RecordLike | None = None,
        observe: ObserveLike | None = None,
        precision: VariedText | None = None,
        gamma: VariedNumber | None = None,
        initial: VariedInitial | None = None,
        seed: VariedInt | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        stop: Iterable[StopLike] = (),
        idempotency_key: str | None = None,
    ) -> Sweep:
        """Queue one member per point: `sweep("aurora", gamma=linspace(0, 0.05, 20), seed=range(500), steps=500)`.

        An argument that is a sequence of values (list, range, NumPy array, `linspace(…)`) is an axis. A grid (H, W), a
        schedule of gamma and lists of `record` are one value. The order of the axes is: law, those of `axes`, then the
        arguments in the order below; the last axis varies fastest.

        Args:
            law: as in `submit`, or a list of laws, which is an axis.
            axes: values by key of a JobSpec, for keys that are no names (`initial.strength`).
            mode: "product" for every combination, "zip" for axes of equal length side by side, or `random_points(n)`
                or `latin_hypercube(n)`.
            grid: as in `submit`, or an axis.
            steps: as in `submit`, or an axis; default: 1000.
            record: as in `submit`.
            observe: as in `submit`.
            precision: as in `submit`, or an axis.
            gamma: as in `submit`, or an axis.
            initial: as in `submit`; its values may be axes: `{"strength": linspace(0, 1, 5)}`.
            seed: as in `submit`, or an axis.
            interventions: as in `submit`.
            keep_states: as in `submit`.
            priority: as in `submit`.
            deadline_s: as in `submit`.
            ttl_s: as in `submit`.
            name: as in `submit`, of the sweep.
            tags: as in `submit`.
            webhook: URL to call when every member has ended.
            stop: rules that end a member early: "frozen", "collapsed", "non_finite", "cycle", or
                `{"observable": "activity", "below": 0.01, "for": 5}`.
            idempotency_key: calls with the same key submit once; default: a new key.

        Raises:
            ValueError: there is no axis, or no law and the members do not start from the state of another job.
        """
        spec = _given(
            grid=grid, steps=steps, record=record, observe=observe, precision=precision, gamma=gamma, initial=initial,
            seed=seed, interventions=interventions, keep_states=keep_states, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, name=name, tags=tags,
        )  # fmt: skip
        body = sweep_request(self._body, law, axes or {}, mode, stop, spec)
        if webhook is not None:
            body["webhook"] = {"url": webhook} if isinstance(webhook, str) else dict(webhook)
        return self._sweep(body, idempotency_key)

    def _sweep(self, body: dict[str, Any], key: str | None) -> Sweep:
        return Sweep(self._http, self._post("/v1/sweeps", body, key, SWEEP_KEYS))

    def estimate_sweep(
        self,
        law: LawAxis = None,
        axes: Mapping[str, Any] | None = None,
        mode: Mode = "product",
        *,
        grid: GridAxis | None = None,
        steps: VariedInt | None = None,
        record: RecordLike | None = None,
        observe: ObserveLike | None = None,
        precision: VariedText | None = None,
        gamma: VariedNumber | None = None,
        initial: VariedInitial | None = None,
        seed: VariedInt | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        stop: Iterable[StopLike] = (),
    ) -> dict[str, Any]:
        """Return what a `sweep` with these arguments needs, and submit nothing: size, blocks, cell_steps, bytes."""
        spec = _given(
            grid=grid, steps=steps, record=record, observe=observe, precision=precision, gamma=gamma, initial=initial,
            seed=seed, interventions=interventions, keep_states=keep_states, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, tags=tags,
        )  # fmt: skip
        return self._estimate(sweep_request(self._body, law, axes or {}, mode, stop, spec))

    def _estimate(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._http.json("POST", "/v1/sweeps", having=("cell_steps",), params={"dry_run": "true"}, json=body)

    def quote_sweep(
        self,
        law: LawAxis = None,
        axes: Mapping[str, Any] | None = None,
        mode: Mode = "product",
        *,
        grid: GridAxis | None = None,
        steps: VariedInt | None = None,
        record: RecordLike | None = None,
        observe: ObserveLike | None = None,
        precision: VariedText | None = None,
        gamma: VariedNumber | None = None,
        initial: VariedInitial | None = None,
        seed: VariedInt | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        stop: Iterable[StopLike] = (),
    ) -> dict[str, Any]:
        """Return what a `sweep` with these arguments would take, as `quote` does, and submit nothing."""
        spec = _given(
            grid=grid, steps=steps, record=record, observe=observe, precision=precision, gamma=gamma, initial=initial,
            seed=seed, interventions=interventions, keep_states=keep_states, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, tags=tags,
        )  # fmt: skip
        body = sweep_request(self._body, law, axes or {}, mode, stop, spec)
        return self._http.json("POST", "/v1/quotes", having=("cell_steps",), json={"sweep": body})


def _given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that are given."""
    return {key: value for key, value in arguments.items() if value is not None}
