"""Delivers results to sinks, in order per run, off the engine's thread: a slow store delays its own run only."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.engine.pipeline import InFlightBurst
from leym.engine.recorder import Recorded
from leym.engine.run import Run
from leym.engine.states import GroupState, Places, span

log = logging.getLogger(__name__)

# Bytes of one run that may wait for its sink. Above it the run gives up its slot until the sink has caught up.
LIMIT = 64 * 2**20


class ResultDispatcher:
    """Calls sinks from a pool of threads.

    Args:
        threads: size of the pool.
        on_error: called with the run's id if a sink raises. Sinks handle their own errors, so that is a defect.

    Attributes:
        behind: ids of the runs for whose sinks more than LIMIT bytes wait.
    """

    def __init__(self, threads: int, on_error: Callable[[str, BaseException], None]):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._on_error = on_error
        self._queues: dict[str, deque[tuple[int, Callable[[], None]]]] = {}
        self._waiting: dict[str, int] = {}  # bytes per run
        self.behind: set[str] = set()
        self._changed = Condition()

    # --- results, as the engine has them

    def burst(self, burst: InFlightBurst) -> None:
        """Deliver what the members that are left in the open groups of a finished burst recorded and saved."""
        for result in burst.results:
            group = result.group
            if group.closed:
                continue
            run, left = group.run, None
            if len(group.places) < len(result.places):  # some have failed or were dropped since the launch
                left = np.isin(result.places, group.places)
            places = result.places if left is None else result.places[left]
            if result.recorded:
                self.frames(run, result.step, result.places, result.recorded, left)
            if result.checkpoint:
                group.saved = _of(result.checkpoint(), left)
                self.checkpoint(run, group.saved)
            if result.report:
                self.post(run.id, partial(run.sink.progress, result.step, places))
            if result.final:
                size = len(places) * burst.batch.bytes_per_member
                self.post(run.id, partial(_deliver_state, run.sink.finished, result.final, left), size)

    def frames(
        self, run: Run, step: int, places: Places, recorded: Recorded, left: NDArray[np.bool_] | None = None
    ) -> None:
        """Deliver what members of a run recorded at a step, unless it was delivered before a retry.

        Args:
            run: the run.
            step: the step.
            places: the members that recorded.
            recorded: what they recorded.
            left: those of them that are delivered, bool [n]; None: all.
        """
        if not len(places):
            return
        at = span(places)
        new = run.recorded[at] < step
        if not new.all():
            left = new if left is None else left & new
        if left is not None:
            places = at = places[left]
        if len(places):
            run.recorded[at] = step
            self.post(run.id, partial(_deliver_frames, run, step, places, recorded, left), recorded.nbytes)

    def checkpoint(self, run: Run, state: GroupState) -> None:
        """Deliver a state from which members of a run can go on."""
        self.post(run.id, partial(run.sink.checkpoint, state))

    def failed(self, run: Run, step: int, places: Places, detail: str) -> None:
        """Tell the sink that members cannot go on after `step`."""
        problem = Problem(500, "The run failed", f"job {run.id}: {detail}")
        self.post(run.id, partial(run.sink.failed, step, places, problem))

    # --- the queue of each run

    def post(self, run_id: str, deliver: Callable[[], None], nbytes: int = 0) -> None:
        """Call `deliver` after everything posted before for this run."""
        with self._changed:
            self._waiting[run_id] = self._waiting.get(run_id, 0) + nbytes
            self._compare(run_id)
            if run_id in self._queues:
                self._queues[run_id].append((nbytes, deliver))
            else:
                self._queues[run_id] = deque([(nbytes, deliver)])
                self._pool.submit(self._deliver_all, run_id)

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
                    self.behind.discard(run_id)
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
                self._compare(run_id)

    def _compare(self, run_id: str) -> None:
        if self._waiting[run_id] > LIMIT:
            self.behind.add(run_id)
        else:
            self.behind.discard(run_id)


def _deliver_frames(run: Run, step: int, places: Places, recorded: Recorded, left: NDArray[np.bool_] | None) -> None:
    fields, observables = recorded.fetch()
    if left is not None:
        fields = {name: array[left] for name, array in fields.items()}
        observables = {name: array[left] for name, array in observables.items()}
    run.sink.frames(step, places, fields, observables)


def _deliver_state(
    deliver: Callable[[GroupState], None], fetch: Callable[[], GroupState], left: NDArray[np.bool_] | None
) -> None:
    deliver(_of(fetch(), left))


def _of(state: GroupState, left: NDArray[np.bool_] | None) -> GroupState:
    return state if left is None else state.of(left)
