"""The client of the SDK for asyncio. Written by `.ci/async_client.py`; edit the synchronous class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leym.client.activity import State
from leym.client.aio.base import ClientBase
from leym.client.aio.job import AsyncJob
from leym.client.aio.sweep import AsyncSweep
from leym.client.axes import GridAxis, Mode, StopLike, VariedInitial, VariedInt, VariedNumber, VariedText
from leym.client.live import JobEvent
from leym.client.requests import GammaLike, InitialLike, Intervention, ObserveLike, RecordLike
from leym.client.sweep_submissions import LawAxis
from leym.client.training import Recipe
from leym.contract.spec import JobSpec, Precision


class AsyncClient(ClientBase):
    """`Client` for asyncio."""

    @property
    def url(self) -> str:
        """The address of the service, without a slash at its end."""
        return self._sync.url

    async def submit(
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
    ) -> AsyncJob:
        """Queue a universe: `submit("aurora", steps=2000, seed=7, record={"phase": 10}, observe=10)`.

        See `Client.submit`.
        """
        return AsyncJob(
            self._threads,
            await self._threads.run(
                self._sync.submit,
                law,
                grid,
                steps,
                record,
                observe,
                seed=seed,
                initial=initial,
                gamma=gamma,
                precision=precision,
                interventions=interventions,
                keep_states=keep_states,
                reuse=reuse,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                name=name,
                tags=tags,
                webhook=webhook,
                idempotency_key=idempotency_key,
            ),
        )

    async def run(
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
    ) -> AsyncJob:
        """Submit a job and wait until it has succeeded.

        See `Client.run`.
        """
        return await (
            await self.submit(
                law,
                grid,
                steps,
                record,
                observe,
                seed=seed,
                initial=initial,
                gamma=gamma,
                precision=precision,
                interventions=interventions,
                keep_states=keep_states,
                reuse=reuse,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                name=name,
                tags=tags,
                webhook=webhook,
                idempotency_key=idempotency_key,
            )
        ).wait(timeout, progress)

    async def quote(
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

        See `Client.quote`.
        """
        return await self._threads.run(
            self._sync.quote,
            law,
            grid,
            steps,
            record,
            observe,
            seed=seed,
            initial=initial,
            gamma=gamma,
            precision=precision,
            interventions=interventions,
            keep_states=keep_states,
            priority=priority,
            deadline_s=deadline_s,
            ttl_s=ttl_s,
            tags=tags,
        )

    async def sweep(
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
    ) -> AsyncSweep:
        """Queue one member per point: `sweep("aurora", gamma=linspace(0, 0.05, 20), seed=range(500), steps=500)`.

        See `Client.sweep`.
        """
        return AsyncSweep(
            self._threads,
            await self._threads.run(
                self._sync.sweep,
                law,
                axes,
                mode,
                grid=grid,
                steps=steps,
                record=record,
                observe=observe,
                precision=precision,
                gamma=gamma,
                initial=initial,
                seed=seed,
                interventions=interventions,
                keep_states=keep_states,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                name=name,
                tags=tags,
                webhook=webhook,
                stop=stop,
                idempotency_key=idempotency_key,
            ),
        )

    async def estimate_sweep(
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
        """Return what a `sweep` with these arguments needs, and submit nothing: size, blocks, cell_steps, bytes.

        See `Client.estimate_sweep`.
        """
        return await self._threads.run(
            self._sync.estimate_sweep,
            law,
            axes,
            mode,
            grid=grid,
            steps=steps,
            record=record,
            observe=observe,
            precision=precision,
            gamma=gamma,
            initial=initial,
            seed=seed,
            interventions=interventions,
            keep_states=keep_states,
            priority=priority,
            deadline_s=deadline_s,
            ttl_s=ttl_s,
            tags=tags,
            stop=stop,
        )

    async def quote_sweep(
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
        """Return what a `sweep` with these arguments would take, as `quote` does, and submit nothing.

        See `Client.quote_sweep`.
        """
        return await self._threads.run(
            self._sync.quote_sweep,
            law,
            axes,
            mode,
            grid=grid,
            steps=steps,
            record=record,
            observe=observe,
            precision=precision,
            gamma=gamma,
            initial=initial,
            seed=seed,
            interventions=interventions,
            keep_states=keep_states,
            priority=priority,
            deadline_s=deadline_s,
            ttl_s=ttl_s,
            tags=tags,
            stop=stop,
        )

    async def train(
        self,
        recipe: Recipe,
        name: str | None = None,
        *,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Queue the training of a law: `train("spirals.toml")`.

        See `Client.train`.
        """
        return AsyncJob(
            self._threads,
            await self._threads.run(
                self._sync.train,
                recipe,
                name,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                tags=tags,
                webhook=webhook,
                idempotency_key=idempotency_key,
            ),
        )

    async def events(
        self,
        jobs: Sequence[str | AsyncJob] | None = None,
        *,
        sweep: str | None = None,
        state: State | None = None,
        replay: bool = False,
        after: str = "",
    ) -> AsyncIterator[JobEvent]:
        """Yield what happens to many jobs, over one connection that resumes where it was when it is lost.

        See `Client.events`.
        """
        async for item in self._threads.each(
            self._sync.events(
                None if jobs is None else [job if isinstance(job, str) else job.id for job in jobs],
                sweep=sweep,
                state=state,
                replay=replay,
                after=after,
            )
        ):
            yield item

    async def deliveries(
        self, *, job: str | None = None, state: str | None = None, limit: int | None = 50
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the deliveries of webhooks, newest first, each with its attempts; they are kept for 30 days.

        See `Client.deliveries`.
        """
        async for item in self._threads.each(self._sync.deliveries(job=job, state=state, limit=limit)):
            yield item

    async def replay_delivery(self, id: str) -> dict[str, Any]:
        """Deliver an event again, with all retries. The event keeps its id and its body.

        See `Client.replay_delivery`.
        """
        return await self._threads.run(self._sync.replay_delivery, id)

    async def webhook_secret(self) -> dict[str, Any]:
        """Return the project's secret that signs webhooks: `secret`, and `previous` while a change is under way.

        See `Client.webhook_secret`.
        """
        return await self._threads.run(self._sync.webhook_secret)

    async def replace_webhook_secret(self) -> dict[str, Any]:
        """Replace the project's secret. For 24 hours both sign, so that receivers can change theirs.

        See `Client.replace_webhook_secret`.
        """
        return await self._threads.run(self._sync.replace_webhook_secret)

    async def job(self, id: str) -> AsyncJob:
        """Return a job by its id.

        See `Client.job`.
        """
        return AsyncJob(self._threads, await self._threads.run(self._sync.job, id))

    async def jobs(
        self,
        *,
        state: str | None = None,
        law: str | None = None,
        tag: str | None = None,
        sweep: str | None = None,
        limit: int | None = 50,
    ) -> AsyncIterator[AsyncJob]:
        """Yield jobs, newest first; a page is requested when the iteration reaches it.

        See `Client.jobs`.
        """
        async for item in self._threads.each(self._sync.jobs(state=state, law=law, tag=tag, sweep=sweep, limit=limit)):
            yield AsyncJob(self._threads, item)

    async def get_sweep(self, id: str) -> AsyncSweep:
        """Return a sweep by its id. Raises ProblemError if there is none, ValueError if `id` is empty, "." or "..".

        See `Client.get_sweep`.
        """
        return AsyncSweep(self._threads, await self._threads.run(self._sync.get_sweep, id))

    async def sweeps(self, limit: int | None = 50) -> AsyncIterator[AsyncSweep]:
        """Yield sweeps, newest first, `limit` at most or all if None; pages are requested one by one.

        See `Client.sweeps`.
        """
        async for item in self._threads.each(self._sync.sweeps(limit)):
            yield AsyncSweep(self._threads, item)

    async def laws(self) -> list[dict[str, Any]]:
        """List the laws of the service: name, digest, architecture, d_state and more of each.

        See `Client.laws`.
        """
        return await self._threads.run(self._sync.laws)

    async def law(self, name: str) -> dict[str, Any]:
        """Describe one law, by `name` (its newest version) or `name@digest`.

        See `Client.law`.
        """
        return await self._threads.run(self._sync.law, name)

    async def add_law(self, path: str | Path, name: str | None = None, *, digest: str | None = None) -> dict[str, Any]:
        """Add a bundle to the laws of the service.

        See `Client.add_law`.
        """
        return await self._threads.run(self._sync.add_law, path, name, digest=digest)

    async def import_law(
        self,
        path: str | Path,
        name: str,
        *,
        architecture: str | None = None,
        d_state: int | None = None,
        hidden_channels: int | None = None,
        form: str | None = None,
        resize_antialias: bool | None = None,
    ) -> dict[str, Any]:
        """Add the law of a training checkpoint to the laws of the service.

        See `Client.import_law`.
        """
        return await self._threads.run(
            self._sync.import_law,
            path,
            name,
            architecture=architecture,
            d_state=d_state,
            hidden_channels=hidden_channels,
            form=form,
            resize_antialias=resize_antialias,
        )

    async def judge(
        self,
        law: str,
        precision: Literal["nf4", "int8", "bf16"] = "nf4",
        *,
        plan: Literal["small", "standard"] | None = None,
        grid: int | tuple[int, int] | None = None,
        members: int | None = None,
        steps: int | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Queue a judgement: does `law` in `precision` still give the same universes?

        See `Client.judge`.
        """
        return AsyncJob(
            self._threads,
            await self._threads.run(
                self._sync.judge,
                law,
                precision,
                plan=plan,
                grid=grid,
                members=members,
                steps=steps,
                priority=priority,
                deadline_s=deadline_s,
                tags=tags,
                webhook=webhook,
                idempotency_key=idempotency_key,
            ),
        )

    async def fidelity(self, law: str) -> list[dict[str, Any]]:
        """List the verdicts on the precisions of a law, without their numbers.

        See `Client.fidelity`.
        """
        return await self._threads.run(self._sync.fidelity, law)

    async def verdict(self, law: str, precision: str = "nf4") -> dict[str, Any]:
        """Return the verdict on one precision of a law with all its numbers.

        See `Client.verdict`.
        """
        return await self._threads.run(self._sync.verdict, law, precision)

    async def report(self, law: str, precision: str = "nf4") -> str:
        """Return the verdict on one precision of a law as an HTML page with plots, complete in one file.

        See `Client.report`.
        """
        return await self._threads.run(self._sync.report, law, precision)

    async def delete_law(self, name: str) -> None:
        """Remove a law with all its versions, or one version by `name@digest`.

        See `Client.delete_law`.
        """
        await self._threads.run(self._sync.delete_law, name)

    async def workers(self) -> list[dict[str, Any]]:
        """List the workers that are alive: state, device, slots and busy slots of each.

        See `Client.workers`.
        """
        return await self._threads.run(self._sync.workers)

    async def queue(self) -> dict[str, Any]:
        """Return the backlog: waiting and running jobs, and cell-steps per law, precision and grid.

        See `Client.queue`.
        """
        return await self._threads.run(self._sync.queue)

    async def upload_state(self, psi: np.ndarray) -> str:
        """Store a start state, for `initial={"kind": "upload", "id": id}`.

        See `Client.upload_state`.
        """
        return await self._threads.run(self._sync.upload_state, psi)

    async def ready(self) -> bool:
        """Return True if the service can take jobs, and False if it answers that it cannot.

        See `Client.ready`.
        """
        return await self._threads.run(self._sync.ready)
