"""The job of the SDK for asyncio. Written by `.ci/async_client.py`; edit the synchronous class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from leym.client import frame_socket
from leym.client.aio.base import JobBase
from leym.client.keeping import _KEEP, DAY_S
from leym.client.live import Frame
from leym.client.requests import GammaLike, Intervention, ObserveLike, RecordLike
from leym.client.views import FRAMES, View
from leym.contract.interventions import Disc, Rectangle

if TYPE_CHECKING:
    import xarray


class AsyncJob(JobBase):
    """`Job` for asyncio."""

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return self._sync.id

    @property
    def state(self) -> str:
        """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
        return self._sync.state

    async def refresh(self, wait_s: int = 0) -> Self:
        """Request the state of the job again, and return the job.

        See `Job.refresh`.
        """
        await self._threads.run(self._sync.refresh, wait_s)
        return self

    @property
    def parent(self) -> str | None:
        """The id of the job that this one continues, or None."""
        return self._sync.parent

    @property
    def differs(self) -> dict[str, list[Any]]:
        """The keys in which the job differs from its parent: `{key: [value there, own value]}`."""
        return self._sync.differs

    async def extend(
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
    ) -> AsyncJob:
        """Go on from the last state to a later step: `job.extend(1000)` of a job of 600 steps computes 601 to 1000.

        See `Job.extend`.
        """
        return AsyncJob(
            self._threads,
            await self._threads.run(
                self._sync.extend,
                steps,
                gamma=gamma,
                record=record,
                observe=observe,
                interventions=interventions,
                keep_states=keep_states,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                tags=tags,
                reuse=reuse,
                idempotency_key=idempotency_key,
            ),
        )

    async def fork(
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
    ) -> AsyncJob:
        """Go on from any kept state with other values: `job.fork(200, gamma=0.05, steps=600)`.

        See `Job.fork`.
        """
        return AsyncJob(
            self._threads,
            await self._threads.run(
                self._sync.fork,
                step,
                steps=steps,
                gamma=gamma,
                seed=seed,
                law=law,
                precision=precision,
                record=record,
                observe=observe,
                interventions=interventions,
                keep_states=keep_states,
                priority=priority,
                deadline_s=deadline_s,
                ttl_s=ttl_s,
                tags=tags,
                reuse=reuse,
                idempotency_key=idempotency_key,
            ),
        )

    async def states(self) -> list[dict[str, Any]]:
        """List the states from which other jobs can go on: step, kind and bytes of each.

        See `Job.states`.
        """
        return await self._threads.run(self._sync.states)

    async def state_at(self, step: int) -> np.ndarray:
        """Read the complete state at the step of a kept state: psi, complex64 [H, W, d].

        See `Job.state_at`.
        """
        return await self._threads.run(self._sync.state_at, step)

    async def lineage(self) -> list[dict[str, Any]]:
        """List the jobs of the lineage, each after the one that it continues; deleted ones stay as records.

        See `Job.lineage`.
        """
        return await self._threads.run(self._sync.lineage)

    async def dataset(self, lineage: bool = False) -> xarray.Dataset:
        """Open the recorded fields and the observables as one xarray.Dataset.

        See `Job.dataset`.
        """
        return await self._threads.run(self._sync.dataset, lineage)

    async def list_fields(self) -> list[dict[str, Any]]:
        """List the recorded fields: name, shape, dtype, units, every and number of stored frames (`committed`).

        See `Job.list_fields`.
        """
        return await self._threads.run(self._sync.list_fields)

    async def array(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames of a field.

        See `Job.array`.
        """
        return await self._threads.run(self._sync.array, field, start, stop, stride)

    async def live(
        self,
        field: str,
        *,
        start: int = 0,
        fps: float | None = None,
        downsample: int = 1,
        dtype: frame_socket.Dtype = "f32",
    ) -> AsyncIterator[tuple[int, np.ndarray]]:
        """Yield (step, frame) of a field as the frames are stored, until the job has ended; then refresh the job.

        See `Job.live`.
        """
        async for item in self._threads.each(
            self._sync.live(field, start=start, fps=fps, downsample=downsample, dtype=dtype)
        ):
            yield item

    async def series(self) -> dict[str, np.ndarray]:
        """Read the observables as plain arrays: `step`, int64 [n], and one float64 [n] per name.

        See `Job.series`.
        """
        return await self._threads.run(self._sync.series)

    async def cell(
        self,
        y: int,
        x: int,
        field: str = "psi",
        *,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
        lineage: bool = False,
    ) -> dict[str, np.ndarray]:
        """Read one cell at every recorded step.

        See `Job.cell`.
        """
        return await self._threads.run(
            self._sync.cell, y, x, field, start=start, stop=stop, stride=stride, lineage=lineage
        )

    async def histogram(
        self,
        field: str,
        bins: int = 64,
        *,
        low: float | None = None,
        high: float | None = None,
        channel: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
        last: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Count the values of each frame of a real field or view.

        See `Job.histogram`.
        """
        return await self._threads.run(
            self._sync.histogram,
            field,
            bins,
            low=low,
            high=high,
            channel=channel,
            start=start,
            stop=stop,
            stride=stride,
            last=last,
        )

    async def curve(self) -> dict[str, np.ndarray]:
        """Read the curve of a training so far: `update` and one float64 [n] per name; `pandas.DataFrame` takes it.

        See `Job.curve`.
        """
        return await self._threads.run(self._sync.curve)

    async def download(
        self,
        field: str,
        path: str | Path,
        format: str | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        stride: int | None = None,
        channel: int | None = None,
        fps: int | None = None,
        scale: int | None = None,
    ) -> Path:
        """Save a field or the observables to a file.

        See `Job.download`.
        """
        return await self._threads.run(
            self._sync.download,
            field,
            path,
            format,
            start=start,
            stop=stop,
            stride=stride,
            channel=channel,
            fps=fps,
            scale=scale,
        )

    async def show(
        self,
        field: str | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        frames: int = FRAMES,
        channel: int | None = None,
        lineage: bool = False,
        beside: Sequence[Self] = (),
        fps: int = 12,
    ) -> View:
        """Show the universe in a notebook, with a play button and a slider; new frames come while it runs.

        See `Job.show`.
        """
        return await self._threads.run(
            self._sync.show,
            field,
            start=start,
            stop=stop,
            frames=frames,
            channel=channel,
            lineage=lineage,
            beside=[job._sync for job in beside],
            fps=fps,
        )

    async def differences(self, other: Self, field: str | None = None) -> dict[str, np.ndarray]:
        """Compare the frames of a field with those of another job, such as a fork, at the steps that both have.

        See `Job.differences`.
        """
        return await self._threads.run(self._sync.differences, other._sync, field)

    async def list_segments(self) -> list[dict[str, Any]]:
        """List the batch size, kernel, operands and device that computed the frames, from which step on.

        See `Job.list_segments`.
        """
        return await self._threads.run(self._sync.list_segments)

    @property
    def name(self) -> str | None:
        """The name that a user gave it, or None."""
        return self._sync.name

    async def update(
        self,
        *,
        name: str | None = _KEEP,
        note: str | None = _KEEP,
        starred: bool = _KEEP,
        tags: Mapping[str, str] = _KEEP,
    ) -> Self:
        """Change its name, note, star or tags, and return it. They are no part of its spec, and change no result.

        See `Job.update`.
        """
        await self._threads.run(self._sync.update, name=name, note=note, starred=starred, tags=tags)
        return self

    async def share(self, ttl_s: int = DAY_S) -> dict[str, str]:
        """Make a link to the results that needs no token until it expires or is revoked.

        See `Job.share`.
        """
        return await self._threads.run(self._sync.share, ttl_s)

    async def links(self) -> list[dict[str, str]]:
        """List the links that hold, as `share` returns them.

        See `Job.links`.
        """
        return await self._threads.run(self._sync.links)

    async def revoke_link(self, id: str) -> None:
        """Revoke a link by its id: from now on it opens nothing.

        See `Job.revoke_link`.
        """
        await self._threads.run(self._sync.revoke_link, id)

    async def export(self, path: str | Path, format: str | None = None) -> Path:
        """Save everything to cite and to reproduce it in one file: spec, provenance, law, states, frames and numbers.

        See `Job.export`.
        """
        return await self._threads.run(self._sync.export, path, format)

    @property
    def step(self) -> int:
        """The last step whose frames are stored and can be read."""
        return self._sync.step

    @property
    def steps(self) -> int:
        """The number of steps that the job runs."""
        return self._sync.steps

    @property
    def done(self) -> bool:
        """True if the job has ended, in whatever way."""
        return self._sync.done

    @property
    def spec(self) -> dict[str, Any]:
        """The JobSpec as the service took it, with all defaults."""
        return self._sync.spec

    @property
    def law(self) -> str:
        """The version of the law that runs, or that a training has made, as `name@digest`."""
        return self._sync.law

    @property
    def error(self) -> dict[str, Any] | None:
        """The problem that the job failed with, a dict with title and detail; None if it did not fail."""
        return self._sync.error

    @property
    def url(self) -> str:
        """The address of the job in the REST API."""
        return self._sync.url

    async def cancel(self) -> Self:
        """Stop the job and return it. Its recorded frames stay; a job that has ended does not change.

        See `Job.cancel`.
        """
        await self._threads.run(self._sync.cancel)
        return self

    async def intervene(
        self,
        kind: Literal["vortex", "wave", "noise", "collapse", "set", "paint", "gamma"],
        *,
        step: int | None = None,
        y: float | None = None,
        x: float | None = None,
        radius: float | None = None,
        charge: int | None = None,
        ky: float | None = None,
        kx: float | None = None,
        strength: float | None = None,
        to: str | None = None,
        vector: Sequence[complex] | Sequence[Sequence[float]] | np.ndarray | None = None,
        state: str | None = None,
        channel: int | None = None,
        phase: float | None = None,
        value: float | None = None,
        region: Mapping[str, Any] | Rectangle | Disc | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Change the state or gamma while the job waits or runs: `intervene("vortex", y=32, x=32, radius=8)`.

        See `Job.intervene`.
        """
        return await self._threads.run(
            self._sync.intervene,
            kind,
            step=step,
            y=y,
            x=x,
            radius=radius,
            charge=charge,
            ky=ky,
            kx=kx,
            strength=strength,
            to=to,
            vector=vector,
            state=state,
            channel=channel,
            phase=phase,
            value=value,
            region=region,
            idempotency_key=idempotency_key,
        )

    async def interventions(self) -> list[dict[str, Any]]:
        """List the live interventions of the job: number, state, step and what was asked for.

        See `Job.interventions`.
        """
        return await self._threads.run(self._sync.interventions)

    async def delete(self) -> None:
        """Remove the results of the job.

        See `Job.delete`.
        """
        await self._threads.run(self._sync.delete)

    async def stream(self, start: int | Literal["latest"] = 0, field: str | None = None) -> AsyncIterator[Frame]:
        """Yield the frames as they are stored, until the job has ended; then refresh the job.

        See `Job.stream`.
        """
        async for item in self._threads.each(self._sync.stream(start, field)):
            yield item
