"""The sweep of the SDK for asyncio. Written by `.ci/async_client.py`; edit the synchronous class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from leym.client import tables
from leym.client.aio.base import SweepBase
from leym.client.aio.job import AsyncJob
from leym.client.axes import GridAxis, Mode, VariedInitial, VariedInt, VariedNumber, VariedText
from leym.client.job import Job
from leym.client.keeping import _KEEP, DAY_S
from leym.client.views import FRAMES, View

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


class AsyncSweep(SweepBase):
    """`Sweep` for asyncio."""

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return self._sync.id

    @property
    def axes(self) -> list[str]:
        """The keys of the axes, in their order."""
        return self._sync.axes

    async def dataset(self) -> xarray.Dataset:
        """Open the results of all members as one xarray.Dataset, whose values are read from the service when used.

        See `Sweep.dataset`.
        """
        return await self._threads.run(self._sync.dataset)

    async def datasets(self) -> dict[str, xarray.Dataset]:
        """Open one Dataset as in `dataset` for each shape of members, by the name of its group in the store.

        See `Sweep.datasets`.
        """
        return await self._threads.run(self._sync.datasets)

    async def table(
        self,
        frame: tables.Frame | None = None,
        *,
        filter: tables.Names = (),
        sort: str | None = None,
        descending: bool = False,
        aggregate: tables.Names = (),
        over: tables.Names | None = None,
        value: tables.Names = (),
        window: tuple[int, int] | None = None,
    ) -> Any:
        """Return one row per member: `index`, `id`, `state`, `step`, …, its axes and its last observables.

        See `Sweep.table`.
        """
        return await self._threads.run(
            self._sync.table,
            frame,
            filter=filter,
            sort=sort,
            descending=descending,
            aggregate=aggregate,
            over=over,
            value=value,
            window=window,
        )

    async def save_table(
        self,
        path: str | Path,
        format: str | None = None,
        *,
        filter: tables.Names = (),
        sort: str | None = None,
        descending: bool = False,
        aggregate: tables.Names = (),
        over: tables.Names | None = None,
        value: tables.Names = (),
        window: tuple[int, int] | None = None,
    ) -> int:
        """Save the table to a file, and return the number of bytes.

        See `Sweep.save_table`.
        """
        return await self._threads.run(
            self._sync.save_table,
            path,
            format,
            filter=filter,
            sort=sort,
            descending=descending,
            aggregate=aggregate,
            over=over,
            value=value,
            window=window,
        )

    async def phase_diagram(
        self,
        x: str,
        y: str,
        value: str,
        *,
        statistic: str = "mean",
        window: tuple[int, int] | None = None,
        filter: tables.Names = (),
        ax: Axes | None = None,
    ) -> Axes:
        """Draw an observable over two axes of the sweep.

        See `Sweep.phase_diagram`.
        """
        return await self._threads.run(
            self._sync.phase_diagram, x, y, value, statistic=statistic, window=window, filter=filter, ax=ax
        )

    async def typical(self, count: int = 6, *, value: tables.Names = (), filter: tables.Names = ()) -> list[Job]:
        """Choose members that stand for the sweep: one of each of `count` groups whose observables are alike.

        See `Sweep.typical`.
        """
        return await self._threads.run(self._sync.typical, count, value=value, filter=filter)

    async def best(
        self, value: str, *, lowest: bool = False, window: tuple[int, int] | None = None, filter: tables.Names = ()
    ) -> AsyncJob:
        """Return the member with the largest last value of an observable.

        See `Sweep.best`.
        """
        return AsyncJob(
            self._threads, await self._threads.run(self._sync.best, value, lowest=lowest, window=window, filter=filter)
        )

    async def show(
        self,
        field: str | None = None,
        *,
        count: int = 6,
        members: Sequence[int] | None = None,
        start: int | None = None,
        stop: int | None = None,
        frames: int = FRAMES,
        channel: int | None = None,
        fps: int = 12,
    ) -> View:
        """Show members side by side on one clock, with their points as titles; by default, typical ones.

        See `Sweep.show`.
        """
        return await self._threads.run(
            self._sync.show,
            field,
            count=count,
            members=members,
            start=start,
            stop=stop,
            frames=frames,
            channel=channel,
            fps=fps,
        )

    async def summary(self) -> dict[str, Any]:
        """Return counts, progress and a histogram per observable, without reading every member.

        See `Sweep.summary`.
        """
        return await self._threads.run(self._sync.summary)

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

        See `Sweep.update`.
        """
        await self._threads.run(self._sync.update, name=name, note=note, starred=starred, tags=tags)
        return self

    async def share(self, ttl_s: int = DAY_S) -> dict[str, str]:
        """Make a link to the results that needs no token until it expires or is revoked.

        See `Sweep.share`.
        """
        return await self._threads.run(self._sync.share, ttl_s)

    async def links(self) -> list[dict[str, str]]:
        """List the links that hold, as `share` returns them.

        See `Sweep.links`.
        """
        return await self._threads.run(self._sync.links)

    async def revoke_link(self, id: str) -> None:
        """Revoke a link by its id: from now on it opens nothing.

        See `Sweep.revoke_link`.
        """
        await self._threads.run(self._sync.revoke_link, id)

    async def export(self, path: str | Path, format: str | None = None) -> Path:
        """Save everything to cite and to reproduce it in one file: spec, provenance, law, states, frames and numbers.

        See `Sweep.export`.
        """
        return await self._threads.run(self._sync.export, path, format)

    @property
    def size(self) -> int:
        """The number of members."""
        return self._sync.size

    @property
    def counts(self) -> dict[str, int]:
        """The number of members in each state."""
        return self._sync.counts

    @property
    def done(self) -> bool:
        """True if every member has ended, in whatever way."""
        return self._sync.done

    @property
    def state(self) -> str:
        """`running` or `paused` until every member has ended, then the worst state of a member."""
        return self._sync.state

    @property
    def step(self) -> int:
        """The number of members that have ended."""
        return self._sync.step

    @property
    def steps(self) -> int:
        """The number of members, the end of `step`."""
        return self._sync.steps

    @property
    def progress(self) -> dict[str, int]:
        """The work in all and the work that is done: `members` and `cell_steps`, each also with `_done`."""
        return self._sync.progress

    async def refresh(self) -> Self:
        """Request the state of the sweep again, and return the sweep.

        See `Sweep.refresh`.
        """
        await self._threads.run(self._sync.refresh)
        return self

    async def jobs(self) -> AsyncIterator[AsyncJob]:
        """Yield the members as jobs, newest first; a page is requested when the iteration reaches it.

        See `Sweep.jobs`.
        """
        async for item in self._threads.each(self._sync.jobs()):
            yield AsyncJob(self._threads, item)

    async def member(self, index: int) -> AsyncJob:
        """Return one member as a job.

        See `Sweep.member`.
        """
        return AsyncJob(self._threads, await self._threads.run(self._sync.member, index))

    async def add(
        self,
        axes: Mapping[str, Any] | None = None,
        mode: Mode = "product",
        *,
        law: Sequence[str] | None = None,
        grid: GridAxis | None = None,
        steps: VariedInt | None = None,
        seed: VariedInt | None = None,
        initial: VariedInitial | None = None,
        gamma: VariedNumber | None = None,
        precision: VariedText | None = None,
        idempotency_key: str | None = None,
    ) -> range:
        """Add members, also while the sweep runs or after it has ended: `sweep.add(gamma=[0.3], seed=range(5))`.

        See `Sweep.add`.
        """
        return await self._threads.run(
            self._sync.add,
            axes,
            mode,
            law=law,
            grid=grid,
            steps=steps,
            seed=seed,
            initial=initial,
            gamma=gamma,
            precision=precision,
            idempotency_key=idempotency_key,
        )

    async def estimate_add(
        self,
        axes: Mapping[str, Any] | None = None,
        mode: Mode = "product",
        *,
        law: Sequence[str] | None = None,
        grid: GridAxis | None = None,
        steps: VariedInt | None = None,
        seed: VariedInt | None = None,
        initial: VariedInitial | None = None,
        gamma: VariedNumber | None = None,
        precision: VariedText | None = None,
    ) -> dict[str, Any]:
        """Return what an `add` with these arguments needs, and add nothing: size, blocks, cell_steps, bytes.

        See `Sweep.estimate_add`.
        """
        return await self._threads.run(
            self._sync.estimate_add,
            axes,
            mode,
            law=law,
            grid=grid,
            steps=steps,
            seed=seed,
            initial=initial,
            gamma=gamma,
            precision=precision,
        )

    async def delete(self) -> None:
        """Remove the results of the sweep, which must have ended.

        See `Sweep.delete`.
        """
        await self._threads.run(self._sync.delete)

    async def cancel(self) -> Self:
        """Cancel every member that has not ended, and return the sweep.

        See `Sweep.cancel`.
        """
        await self._threads.run(self._sync.cancel)
        return self

    async def pause(self) -> Self:
        """Stop the members where they are until `resume`, and return the sweep.

        See `Sweep.pause`.
        """
        await self._threads.run(self._sync.pause)
        return self

    async def resume(self) -> Self:
        """Go on after `pause`, and return the sweep.

        See `Sweep.resume`.
        """
        await self._threads.run(self._sync.resume)
        return self

    async def retry(self) -> Self:
        """Run the failed members again from their beginning, and return the sweep.

        See `Sweep.retry`.
        """
        await self._threads.run(self._sync.retry)
        return self

    async def set_priority(self, priority: int) -> Self:
        """Change the priority of the members that have not ended, and return the sweep.

        See `Sweep.set_priority`.
        """
        await self._threads.run(self._sync.set_priority, priority)
        return self
