"""Bursts queued on the device, and what each of them has to deliver.

The lengths of runs are known in advance, so the host need not see the end of a burst to plan the next one. On a device
that works asynchronously one burst stays in flight while the results of the one before are delivered; on a CPU every
burst is finished when it has been launched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from leym.engine.batch import Batch, Group
from leym.engine.device_stream import DeviceStream, HostArrays, Timestamp
from leym.engine.recorder import Recorded, record
from leym.engine.roofline import Cost
from leym.engine.scheduler import share_of
from leym.engine.states import GroupState, Places, span

REPORT_S = 0.5  # seconds between two progress reports of a run

Fetch = Callable[[], GroupState]  # blocks until the copy from the device has arrived


@dataclass
class Result:
    """A group's part in a burst. places, rows, step: the group's after the burst, as of the launch.

    Attributes:
        recorded: what it recorded at `step`; None for nothing.
        checkpoint: its state at `step`, where a checkpoint was due.
        final: its state at `step`, where that was its last step.
        report: whether a progress report was due.
    """

    group: Group
    places: Places
    rows: NDArray[np.int64]
    step: int
    recorded: Recorded | None = None
    checkpoint: Fetch | None = None
    final: Fetch | None = None
    report: bool = False


@dataclass
class InFlightBurst:
    """Steps of a batch that the device has been given.

    Attributes:
        batch: the batch that steps.
        cost: FLOP and bytes of one cell-step.
        steps: steps of every slot.
        busy: number of occupied slots.
        share: the batch's share of the device at the launch (`leym.engine.scheduler.share_of`).
        expected_s: device time that was charged to the batch at the launch.
        began, ended: timestamps around the steps.
        recorded: timestamp after what is recorded has been computed.
        good: the copy of `BatchTensors.good` after the steps.
        results: what the groups of the batch have to deliver.
    """

    batch: Batch
    cost: Cost
    steps: int
    busy: int
    share: float
    expected_s: float
    began: Timestamp
    ended: Timestamp
    recorded: Timestamp
    good: HostArrays
    results: list[Result] = field(default_factory=list)

    def diverged(self) -> list[tuple[Result, NDArray[np.int64]]]:
        """Return the results of open groups with members whose state is no longer finite; waits for the device.

        Returns:
            Each with the last good step of every member, int64 [n].
        """
        good, found = self.good()[0], []
        for result in self.results:
            last_good = result.group.joined_at + good[span(result.rows)]
            if not result.group.closed and (last_good < result.step).any():
                found.append((result, last_good))
        return found


class BurstPipeline:
    """The bursts in flight, oldest first. For the engine's thread.

    Args:
        stream: the device's stream.
        ahead: keep one burst in flight behind those that `finished` returns.
    """

    def __init__(self, stream: DeviceStream, *, ahead: bool):
        self.ahead, self._stream = ahead, stream
        self._bursts: deque[InFlightBurst] = deque()

    def __len__(self) -> int:
        return len(self._bursts)

    def launch(self, batch: Batch, steps: int, cost: Cost, checkpoint_s: float) -> InFlightBurst:
        """Queue steps of a batch on the device, and the copies of everything that is due after them.

        Raises:
            torch.OutOfMemoryError: the states of the batch are lost; bursts launched before are not.
        """
        share, now = share_of(batch), monotonic()
        began = self._stream.timestamp()
        batch.advance(steps)
        ended = self._stream.timestamp()
        good = self._stream.fetch([batch.tensors.good.clone()])
        recorded = {id(group): one for group, one in record(batch, batch.groups, self._stream)}
        moments = (began, ended, self._stream.timestamp())
        burst = InFlightBurst(batch, cost, steps, batch.busy, share, steps * batch.step_s, *moments, good)
        batch.charged_s += burst.expected_s / share
        for group in batch.groups:
            result = Result(group, group.places, group.rows, group.step, recorded.get(id(group)))
            burst.results.append(result)
            if group.step >= group.run.steps:
                result.final = batch.checkpoint(group, self._stream)
            elif group.run.keeps(group.step):  # not in the place of a checkpoint that is due by time
                result.checkpoint = batch.checkpoint(group, self._stream)
            elif now - group.checkpointed > checkpoint_s:
                group.checkpointed = now
                result.checkpoint = batch.checkpoint(group, self._stream)
            elif now - group.reported > REPORT_S:
                group.reported = now
                result.report = True
        self._bursts.append(burst)
        return burst

    def record_start(self, batch: Batch, groups: Sequence[Group]) -> list[tuple[Group, Recorded]]:
        """Record groups that have not made a step."""
        return record(batch, groups, self._stream)

    def finished(self) -> Iterator[InFlightBurst]:
        """Take out the bursts whose results are delivered now: all of them, or with `ahead` all but the newest."""
        while len(self._bursts) > self.ahead:
            yield self._bursts.popleft()

    def flush(self) -> Iterator[InFlightBurst]:
        """Take out every burst."""
        while self._bursts:
            yield self._bursts.popleft()

    def close(self, run_ids: set[str]) -> None:
        """Deliver nothing more of these runs."""
        for burst in self._bursts:
            for result in burst.results:
                result.group.closed |= result.group.run.id in run_ids
