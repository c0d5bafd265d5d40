"""Jobs: the part of the client that submits and quotes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leym.client.connection import Connection
from leym.client.job import JOB_KEYS, Job
from leym.client.requests import GammaLike, InitialLike, Intervention, ObserveLike, RecordLike
from leym.contract.spec import JobSpec, Precision


class Submissions(Connection):
    """The part of `Client` that submits jobs."""

    def submit(
        self,
        law: str | JobSpec | None = None,
        grid: int | tuple[int, int] | None = None,
        steps: int = 1000,
        record: RecordLike = (),
        observe: ObserveLike | None = None,
        *,
        seed: int | None = None,
        initial: InitialLike | None = None,
        gamma: GammaLike | None = None,
        precision: Precision | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        reuse: bool | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a universe: `submit("aurora", steps=2000, seed=7, record={"phase": 10}, observe=10)`.

        A job that starts from the state of another job (`initial={"kind": "state", …}`) inherits the law (the same
        version), grid, gamma and precision that are not given. A lost answer does no harm: each call has one
        Idempotency-Key, so a repeated request finds the first job.

        Args:
            law: name or name@digest; or a JobSpec, and then all other arguments but `idempotency_key` are ignored.
            grid: (H, W) in cells, or one number for a square; default: 64 x 64.
            steps: number of steps.
            record: fields to record: `{"phase": 10}` (field: every), or a list of names, Recordings or
                `{"field", "every", "dtype"}`.
            observe: observables: every n steps (`10`), names (`["activity"]`), `True`, an Observe or
                `{"every", "names"}`.
            seed: seed of the start state and of the law's own random numbers; default: 0.
            initial: start state, such as `{"kind": "seed"}` or `RandomState()`; a mapping without `kind` has the kind
                that its keys belong to: `{"strength": 0.5}` is complex noise.
            gamma: damping, a number or a schedule `[(from step, value), …]`; default: 0.01.
            precision: "nf4", "int8", "bf16", "fp32" or "auto", the default.
            interventions: changes at given steps: `[{"step": 200, "kind": "vortex", "y": 32, "x": 20, "radius": 8}]`.
            keep_states: keep the complete state every so many steps, to fork from it.
            reuse: True: return, join or extend a job that computes the same, if there is one.
            priority: 0 to 9, 9 is the most urgent; default: 4.
            deadline_s: seconds after which a job that has not ended fails.
            ttl_s: seconds for which the results are kept after the job's end.
            name: what people call it; `Job.update` changes it.
            tags: names and values, for finding the job again.
            webhook: URL to call when the job has ended.
            idempotency_key: calls with the same key submit once; default: a new key.

        Returns:
            The queued job.

        Raises:
            ValueError: no law is given, and the job does not start from the state of another one.
        """
        body = self._body(
            law, grid=grid, steps=steps, record=record, observe=observe, seed=seed, initial=initial, gamma=gamma,
            precision=precision, interventions=interventions, keep_states=keep_states, reuse=reuse, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, name=name, tags=tags, webhook=webhook,
        )  # fmt: skip
        return self._submit(body, idempotency_key)

    def _submit(self, body: dict[str, Any], key: str | None) -> Job:
        return Job(self._http, self._post("/v1/jobs", body, key, JOB_KEYS))

    def run(
        self,
        law: str | JobSpec | None = None,
        grid: int | tuple[int, int] | None = None,
        steps: int = 1000,
        record: RecordLike = (),
        observe: ObserveLike | None = None,
        *,
        seed: int | None = None,
        initial: InitialLike | None = None,
        gamma: GammaLike | None = None,
        precision: Precision | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        reuse: bool | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> Job:
        """Submit a job and wait until it has succeeded.

        Args:
            law: as in `submit`.
            grid: as in `submit`.
            steps: as in `submit`.
            record: as in `submit`.
            observe: as in `submit`.
            seed: as in `submit`.
            initial: as in `submit`.
            gamma: as in `submit`.
            precision: as in `submit`.
            interventions: as in `submit`.
            keep_states: as in `submit`.
            reuse: as in `submit`.
            priority: as in `submit`.
            deadline_s: as in `submit`.
            ttl_s: as in `submit`.
            name: as in `submit`.
            tags: as in `submit`.
            webhook: as in `submit`.
            idempotency_key: as in `submit`.
            timeout: seconds to wait at most; default: no limit.
            progress: show a bar on a terminal, and a line now and then elsewhere, both on stderr.

        Returns:
            The job that has succeeded.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            TimeoutError: the job has not ended after `timeout` seconds; it goes on.
        """
        job = self.submit(
            law, grid, steps, record, observe, seed=seed, initial=initial, gamma=gamma, precision=precision,
            interventions=interventions, keep_states=keep_states, reuse=reuse, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, name=name, tags=tags, webhook=webhook, idempotency_key=idempotency_key,
        )  # fmt: skip
        return job.wait(timeout, progress)

    def quote(
        self,
        law: str | JobSpec | None = None,
        grid: int | tuple[int, int] | None = None,
        steps: int = 1000,
        record: RecordLike = (),
        observe: ObserveLike | None = None,
        *,
        seed: int | None = None,
        initial: InitialLike | None = None,
        gamma: GammaLike | None = None,
        precision: Precision | None = None,
        interventions: Sequence[Intervention] | None = None,
        keep_states: int | Mapping[str, int] | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return what a `submit` with these arguments would take, and submit nothing.

        Returns:
            `wait_s`, `run_s`, `start_at`, `finish_at`, `steps_per_s`, `device_seconds` and `cost`, each with the median
            `p50` and the value `p90` that nine of ten jobs keep, or None where that is not known; `members`,
            `cell_steps` and `bytes`; `basis`, the jobs that it was compared with; `reason`, why something is not known.
        """
        body = self._body(
            law, grid=grid, steps=steps, record=record, observe=observe, seed=seed, initial=initial, gamma=gamma,
            precision=precision, interventions=interventions, keep_states=keep_states, priority=priority,
            deadline_s=deadline_s, ttl_s=ttl_s, tags=tags,
        )  # fmt: skip
        return self._quote(body)

    def _quote(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._http.json("POST", "/v1/quotes", having=("cell_steps",), json={"job": body})
