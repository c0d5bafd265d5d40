"""Keeps track of runs: those in slots, those that wait for one, and those parked until their sinks catch up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from leym.engine.batch import Batch, Group
from leym.engine.bucket import Bucket, ResidentBuckets
from leym.engine.delivery import ResultDispatcher
from leym.engine.device_stream import DeviceStream
from leym.engine.run import Run
from leym.engine.scheduler import WaitQueue
from leym.engine.states import GroupState, Places


class Seating:
    """The runs of an engine. Its owner guards it with a lock.

    Attributes:
        buckets: the buckets on the device, whose batches have the slots.
        waiting: runs with members that wait for a slot; some of their members may have one.
        parked: runs without a slot until their sinks have caught up.
        held: runs without a slot until their sinks say how they are steered, by id; a slot is kept free for each.
    """

    def __init__(self, stream: DeviceStream, results: ResultDispatcher):
        self.buckets = ResidentBuckets()
        self.waiting = WaitQueue()
        self.parked: list[Run] = []
        self.held: dict[str, Run] = {}
        self._stream, self._results = stream, results

    @property
    def seated(self) -> int:
        """Number of runs that have slots."""
        return len({id(group.run) for batch in self.buckets.batches() for group in batch.groups})

    @property
    def unseated(self) -> int:
        """Number of runs that have no slot."""
        return len(self.without_slots()) + len(self.parked) + len(self.held)

    def without_slots(self) -> list[str]:
        """Return the ids of the runs that wait and have no slot at all."""
        return [run.id for run in self.waiting if not run.in_slots]

    def seat(self, run: Run, bucket: Bucket, batch: Batch, level: int) -> Group:
        """Give members of a run the free slots of a batch, as many as it has and as the run needs."""
        if not batch.groups:  # a batch that comes back to work starts level with the others
            batch.charged_s = min((b.charged_s for b in self.buckets.batches() if b.groups), default=0.0)
        computed_by = {
            "batch_size": bucket.batch_size,
            "precision": run.precision,
            "operands": str(bucket.law.operands).removeprefix("torch."),
            "compiled": bucket.law.compiled,
            "kernel": bucket.law.kernel,
            "device": bucket.law.device.kind,
        }
        announced, run.computed_by = run.computed_by == computed_by, computed_by
        group = batch.admit(run, level=level)
        if not announced:
            self._results.post(run.id, run.sink.admitted)
        return group

    def vacate(self, group: Group) -> None:
        """Empty the slots of a group; its members go on later, bit for bit, from their present state."""
        state = group.batch.checkpoint(group, self._stream)()
        group.batch.leave(group)
        group.run.put_back(state)

    def vacate_run(self, run: Run) -> None:
        """Empty all slots of a run."""
        for group in list(self.groups_of({run.id})):
            self.vacate(group)

    def drop(self, group: Group, chosen: NDArray[np.bool_]) -> None:
        """Forget members of a group, bool [n], whether or not it still has slots."""
        if group in group.batch.groups:
            group.batch.leave(group, chosen)
        if chosen.all():
            group.closed = True
        elif len(group.places) == len(chosen):  # it had left its slots
            group.places, group.rows = group.places[~chosen], group.rows[~chosen]

    def drop_members(self, run_id: str, places: Places) -> None:
        """Forget members of a run, with slots or without; nothing more of them is delivered."""
        for group in list(self.groups_of({run_id})):
            self.drop(group, np.isin(group.places, places))
        for run in [*self.waiting, *self.parked, *self.held.values()]:
            if run.id == run_id:
                run.drop(places)
        self.waiting.drop({run.id for run in self.waiting if not run.left})

    def remove(self, run_ids: set[str]) -> None:
        """Take runs out of slots and queues; nothing more of them is delivered."""
        for group in list(self.groups_of(run_ids)):
            group.closed = True
            group.batch.leave(group)
        self.waiting.drop(run_ids)
        self.parked = [run for run in self.parked if run.id not in run_ids]
        self.held = {run_id: run for run_id, run in self.held.items() if run_id not in run_ids}

    def park(self, run_ids: set[str]) -> int:
        """Take the slots of these runs, let none of their members wait for one, and return how many runs had any."""
        runs = {id(group.run): group.run for group in self.groups_of(run_ids)}
        runs |= {id(run): run for run in self.waiting if run.id in run_ids}
        for run in runs.values():
            self.vacate_run(run)
            self.parked.append(run)
        self.waiting.drop(run_ids)
        return len(runs)

    def unpark(self) -> None:
        """Let parked runs whose sinks have caught up wait for a slot."""
        for run in [run for run in self.parked if run.id not in self._results.behind]:
            self.parked.remove(run)
            self.waiting.add(run)

    def hold(self, run_id: str) -> Run | None:
        """Take a run out of slots and queues, at the step that it has reached; None if it is not here."""
        seated = [group.run for group in self.groups_of({run_id})]
        here: list[Run] = [*seated, *self.waiting, *self.parked]
        run = next((run for run in here if run.id == run_id), None)
        if run is None:
            return None
        self.vacate_run(run)
        self.waiting.drop({run_id})
        self.parked = [other for other in self.parked if other is not run]
        self.held[run_id] = run
        return run

    def let_go(self, run_id: str) -> Run | None:
        """Let a held run have its slot again, before all that wait; None if it is not held."""
        run = self.held.pop(run_id, None)
        if run is not None:
            self.waiting.add(run, first=True)
        return run

    def release_all(self) -> None:
        """Checkpoint and release every run."""
        runs = {id(run): run for run in (*self.waiting, *self.parked, *self.held.values())}
        for batch in self.buckets.batches():
            for group in list(batch.groups):
                runs[id(group.run)] = group.run
                self.vacate(group)
        self.waiting, self.parked, self.held = WaitQueue(), [], {}
        for run in runs.values():
            if run.computed_by:  # it had a slot here
                for state in run.resumed:
                    self._results.checkpoint(run, state)
            self._results.post(run.id, run.sink.released)

    def evacuate(self, bucket: Bucket, lost: Batch) -> list[Run]:
        """Empty a bucket and return its runs; groups of the lost batch go on from their last checkpoint."""
        runs: dict[int, Run] = {}
        for batch in bucket.batches:
            for group in list(batch.groups):
                runs[id(group.run)] = group.run
                if batch is not lost:
                    self.vacate(group)
                    continue
                batch.leave(group)
                state = GroupState(0, group.places, {})
                if group.saved:
                    state = group.saved.of(np.isin(group.saved.places, group.places))
                group.run.put_back(state)
        del self.buckets[bucket.key]
        return list(runs.values())

    def groups_of(self, run_ids: set[str]) -> Iterator[Group]:
        """Iterate over the groups of these runs."""
        for batch in self.buckets.batches():
            yield from (group for group in batch.groups if group.run.id in run_ids)
