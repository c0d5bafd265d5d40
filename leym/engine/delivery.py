"""Delivers results to sinks, in order per run, off the engine's thread: a slow store delays its own run only."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Condition

from leym.contract.problems import Problem
from leym.engine.pipeline import InFlightBurst
from leym.engine.recorder import Recorded
from leym.engine.run import Arrays, Checkpoint, Run

log = logging.getLogger(__name__)

# Bytes of one run that may wait for its sink. Above it the run gives up its slot until the sink has caught up.
LIMIT = 64 * 2**20


class ResultDispatcher:
    """Calls sinks from a pool of threads.

    Args:
        threads: size of the pool.
        on_error: called with the run's id if a sink raises. Sinks handle their own errors, so that is a defect.
    """

    def __init__(self, threads: int, on_error: Callable[[str, BaseException], None]):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._on_error = on_error
        self._queues: dict[str, deque[tuple[int, Callable[[], None]]]] = {}
        self._waiting: dict[str, int] = {}  # bytes per run
        self._changed = Condition()

    # --- results, as the engine has them

    def burst(self, burst: InFlightBurst) -> None:
        """Deliver everything that the open slots of a finished burst recorded, saved and reported."""
        for member in burst.members:
            if member.slot.closed:
                continue
            run = member.slot.run
            if member.recorded:
                self.frames(run, member.step, member.recorded)
            if member.checkpoint:
                run.saved = member.checkpoint()
                self.checkpoint(run, run.saved)
            if member.report:
                self.post(run.id, partial(run.sink.progress, member.step))
            if member.final:
                self.post(run.id, partial(_deliver_state, run.sink.finished, member.final))

    def frames(self, run: Run, step: int, recorded: Recorded) -> None:
        """Deliver what a run recorded at a step."""
        run.recorded = step
        self.post(run.id, partial(_deliver_frames, run, step, recorded), recorded.nbytes)

    def checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        """Deliver a state from which the run can go on."""
        self.post(run.id, partial(run.sink.checkpoint, checkpoint.step, checkpoint.arrays))

    def failed(self, run: Run, step: int, detail: str) -> None:
        """Tell the sink that the run cannot go on after `step`."""
        problem = Problem(500, "The run failed", f"job {run.id}: {detail}")
        self.post(run.id, partial(run.sink.failed, step, problem))

    # --- the queue of each run

    def post(self, run_id: str, deliver: Callable[[], None], nbytes: int = 0) -> None:
        """Call `deliver` after everything posted before for this run."""
        with self._changed:
            self._waiting[run_id] = self._waiting.get(run_id, 0) + nbytes
            if run_id in self._queues:
                self._queues[run_id].append((nbytes, deliver))
            else:
                self._queues[run_id] = deque([(nbytes, deliver)])
                self._pool.submit(self._deliver_all, run_id)

    def is_behind(self, run_id: str) -> bool:
        """Return whether more than LIMIT bytes wait for the run's sink."""
        return self._waiting.get(run_id, 0) > LIMIT

    def drop(self, run_id: str) -> None:
        """Forget what waits for a run's sink; a call in progress is not interrupted."""
        with self._changed:
            if run_id in self._queues:
                self._queues[run_id].clear()

    def close(self) -> None:
        """Deliver everything, then end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queues)
        self._pool.shutdown()

    def _deliver_all(self, run_id: str) -> None:
        while True:
            with self._changed:
                queue = self._queues[run_id]
                if not queue:
                    del self._queues[run_id], self._waiting[run_id]
                    self._changed.notify_all()
                    return
                nbytes, deliver = queue.popleft()
            try:
                deliver()
            except Exception as error:
                log.exception("the sink of run %s raised", run_id)
                self.drop(run_id)
                self._on_error(run_id, error)
            with self._changed:
                self._waiting[run_id] -= nbytes


def _deliver_frames(run: Run, step: int, recorded: Recorded) -> None:
    run.sink.frames(step, *recorded.fetch())


def _deliver_state(deliver: Callable[[int, Arrays], None], fetch: Callable[[], Checkpoint]) -> None:
    state = fetch()
    deliver(state.step, state.arrays)
