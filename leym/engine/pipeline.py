"""Bursts queued on the device, and what each of them has to deliver.

The lengths of runs are known in advance, so the host need not see the end of a burst to plan the next one. On a device
that works asynchronously one burst stays in flight while the results of the one before are delivered; on a CPU every
burst is finished when it has been launched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from leym.engine.batch import Batch, Slot
from leym.engine.device_stream import DeviceStream, HostArrays, Timestamp
from leym.engine.recorder import Recorded, record
from leym.engine.roofline import Cost
from leym.engine.run import Checkpoint
from leym.engine.scheduler import share_of

REPORT_S = 0.5  # seconds between two progress reports of a run

Fetch = Callable[[], Checkpoint]  # blocks until the copy from the device has arrived


@dataclass
class Member:
    """A slot of a burst. row, step: its row in the batch's tensors and its step after the burst, as of the launch.

    Attributes:
        recorded: what it recorded at `step`; None for nothing.
        checkpoint: its state at `step`, where a checkpoint was due.
        final: its state at `step`, where that was its last step.
        report: whether a progress report was due.
    """

    slot: Slot
    row: int
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
        share: the batch's share of the device at the launch (`leym.engine.scheduler.share_of`).
        expected_s: device time that was charged to the batch at the launch.
        began, ended: timestamps around the steps.
        good: the copy of `BatchTensors.good` after the steps.
        members: the slots that were occupied.
    """

    batch: Batch
    cost: Cost
    steps: int
    share: float
    expected_s: float
    began: Timestamp
    ended: Timestamp
    good: HostArrays
    members: list[Member] = field(default_factory=list)

    def diverged(self) -> list[tuple[Slot, int]]:
        """Return the open slots whose state is no longer finite, each with its last good step; waits for the device."""
        good = self.good()[0]
        last = [(m.slot, m.slot.joined_at + int(good[m.row]), m.step) for m in self.members if not m.slot.closed]
        return [(slot, last_good) for slot, last_good, step in last if last_good < step]


class BurstPipeline:
    """The bursts in flight, oldest first. For the engine's thread.

    Args:
        stream: the device's stream.
        ahead: keep one burst in flight behind those that `finished` returns.
    """

    def __init__(self, stream: DeviceStream, *, ahead: bool):
        self.ahead = ahead
        self._stream = stream
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
        burst = InFlightBurst(batch, cost, steps, share, steps * batch.step_s, began, ended, good)
        batch.charged_s += burst.expected_s / share
        recorded = {slot.index: one for slot, one in record(batch, batch.active, self._stream, together=self.ahead)}
        for slot in batch.active:
            member = Member(slot, slot.index, slot.step, recorded.get(slot.index))
            burst.members.append(member)
            if slot.step >= slot.run.steps:
                member.final = batch.checkpoint(slot, self._stream)
            elif now - slot.checkpointed > checkpoint_s:
                slot.checkpointed = now
                member.checkpoint = batch.checkpoint(slot, self._stream)
            elif now - slot.reported > REPORT_S:
                slot.reported = now
                member.report = True
        self._bursts.append(burst)
        return burst

    def record_start(self, batch: Batch, slot: Slot) -> Recorded | None:
        """Record a run that has not made a step; None if nothing is due at step 0."""
        return next((one for _, one in record(batch, [slot], self._stream, together=False)), None)

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
            for member in burst.members:
                member.slot.closed |= member.slot.run.id in run_ids
