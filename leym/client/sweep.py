"""A sweep of the service: one law, many members, one table and one labelled array."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from leym.client.axes import GridAxis, Mode, VariedInitial, VariedInt, VariedNumber, VariedText, more_members
from leym.client.http import Http
from leym.client.job import FINAL, JOB_KEYS, Job, list_jobs
from leym.client.keeping import Kept
from leym.client.pages import listed
from leym.client.progress import Amount, Bars
from leym.client.sweep_results import SweepResults
from leym.common.backoff import Backoff

SWEEP_KEYS = ("id", "size", "counts")
GROWN_KEYS = (*SWEEP_KEYS, "members")
POLL = Backoff(0.2, longest_s=2.0, factor=1.5)  # delays between two requests


class Sweep(SweepResults, Kept):
    """Members that differ in a few keys, as returned by `Client.sweep` and `Client.get_sweep`.

    Properties show the last answer of the service; `refresh()` and `wait()` request a new one.
    """

    @property
    def size(self) -> int:
        """The number of members."""
        return int(self._data["size"])

    @property
    def counts(self) -> dict[str, int]:
        """The number of members in each state."""
        return dict(self._data["counts"])

    @property
    def done(self) -> bool:
        """True if every member has ended, in whatever way."""
        return self.step >= self.size

    @property
    def state(self) -> str:
        """`running` or `paused` until every member has ended, then the worst state of a member.

        The worst is `failed`, then `cancelled`, then `succeeded`.
        """
        if not self.done:
            return "paused" if self._data.get("paused_at") else "running"
        return next((state for state in ("failed", "cancelled") if self.counts.get(state)), "succeeded")

    @property
    def step(self) -> int:
        """The number of members that have ended."""
        return sum(self.counts.get(state, 0) for state in FINAL)

    @property
    def steps(self) -> int:
        """The number of members, the end of `step`."""
        return self.size

    @property
    def progress(self) -> dict[str, int]:
        """The work in all and the work that is done: `members` and `cell_steps`, each also with `_done`."""
        work = self._data.get("progress")
        cell_steps = {"cell_steps": work["cell_steps"], "cell_steps_done": work["done"]} if work else {}
        return {"members": self.size, "members_done": self.step} | cell_steps

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return dict(self._data)

    def refresh(self) -> Sweep:
        """Request the state of the sweep again, and return the sweep."""
        self._data = self._http.json("GET", self._path, having=SWEEP_KEYS)
        return self

    def wait(self, timeout: float | None = None, progress: bool = False) -> Sweep:
        """Wait until every member has ended, in whatever way; `state` and `counts` show the outcome.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show bars of members and of cell-steps on a terminal, and lines now and then elsewhere, both on
                stderr.

        Returns:
            The sweep.

        Raises:
            TimeoutError: members are left after `timeout` seconds; they go on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        polls = 0
        with Bars(enabled=progress) as bars:
            self._show(bars)
            while not self.done:
                pause = POLL.delay_s(polls)
                if end is not None and time.monotonic() + pause > end:
                    raise TimeoutError(f"sweep {self.id}: {self.step} of {self.size} jobs have ended after {timeout} s")
                time.sleep(pause)
                polls += 1
                self.refresh()
                self._show(bars)
        return self

    def _show(self, bars: Bars) -> None:
        bars.show(self, f"sweep {self.id}")
        amounts = self.progress
        if "cell_steps" in amounts:
            bars.show(Amount("cell-steps", self.state, amounts["cell_steps_done"], amounts["cell_steps"]))

    def jobs(self) -> Iterator[Job]:
        """Yield the members as jobs, newest first; a page is requested when the iteration reaches it."""
        return list_jobs(self._http, {"sweep": self.id})

    def member(self, index: int) -> Job:
        """Return one member as a job.

        Args:
            index: position in the sweep, the last axis fastest; negative numbers count from the end.

        Raises:
            IndexError: there is no such member.
        """
        if not -self.size <= index < self.size:
            raise IndexError(f"sweep {self.id} has {self.size} members: no member {index}")
        return Job(self._http, self._http.json("GET", f"{self._path}/members/{index % self.size}", having=JOB_KEYS))

    def add(
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

        They have the law, the steps and all other keys of the sweep's base, and its stop rules. The indices of the
        other members stay. In `dataset`, all members are then along one dimension `member`.

        Args:
            axes: values by key, as for `Client.sweep`; each axis of the sweep needs some, here or in an argument.
            mode: as for `Client.sweep`.
            law: names of laws.
            grid: grids.
            steps: numbers of steps.
            seed: seeds.
            initial: start states, or one whose values are axes.
            gamma: values of gamma.
            precision: precisions.
            idempotency_key: calls with the same key add once; default: a new key.

        Returns:
            The indices of the new members, for `member`.

        Raises:
            ProblemError: the axes are not those of the sweep, or it can have no more members.
            ValueError: one of the arguments is no sequence.
        """
        values = {
            "law": law, "grid": grid, "steps": steps, "precision": precision, "gamma": gamma, "initial": initial,
            "seed": seed,
        }  # fmt: skip
        body, headers = (
            more_members(axes or {}, mode, _given(values)),
            {"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        )
        self._data = self._http.json(
            "POST", f"{self._path}/members", having=GROWN_KEYS, json=body, headers=headers, repeatable=True
        )
        members = self._data.pop("members")
        return range(members["first"], members["first"] + members["size"])

    def estimate_add(
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
        """Return what an `add` with these arguments needs, and add nothing: size, blocks, cell_steps, bytes."""
        values = {
            "law": law, "grid": grid, "steps": steps, "precision": precision, "gamma": gamma, "initial": initial,
            "seed": seed,
        }  # fmt: skip
        body, path = more_members(axes or {}, mode, _given(values)), f"{self._path}/members"
        return self._http.json("POST", path, having=("cell_steps",), params={"dry_run": "true"}, json=body)

    def delete(self) -> None:
        """Remove the results of the sweep, which must have ended.

        Raises:
            ProblemError: members have not ended, or live jobs start from them.
        """
        self._http.remove(self._path)

    def cancel(self) -> Sweep:
        """Cancel every member that has not ended, and return the sweep."""
        return self._change("POST", "/cancel")

    def pause(self) -> Sweep:
        """Stop the members where they are until `resume`, and return the sweep."""
        return self._change("POST", "/pause")

    def resume(self) -> Sweep:
        """Go on after `pause`, and return the sweep."""
        return self._change("POST", "/resume")

    def retry(self) -> Sweep:
        """Run the failed members again from their beginning, and return the sweep."""
        return self._change("POST", "/retry")

    def set_priority(self, priority: int) -> Sweep:
        """Change the priority of the members that have not ended, and return the sweep.

        Args:
            priority: 0 to 9; 9 is the most urgent.
        """
        return self._change("PATCH", "", json={"priority": priority})

    def _change(self, method: str, action: str, **options: Any) -> Sweep:
        self._data = self._http.json(method, self._path + action, having=SWEEP_KEYS, repeatable=True, **options)
        return self

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        bar = f'<progress max="{self.size}" value="{self.step}"></progress>'
        over = ", ".join(map(escape, self.axes))
        return f"<code>{escape(self.id)}</code> {bar} {self.step}/{self.size} members over {over}: {counts}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"<Sweep {self.id} {self.size} jobs: {counts}>"


def list_sweeps(http: Http, limit: int | None = None) -> Iterator[Sweep]:
    """Yield sweeps, newest first, `limit` at most; a page is requested when the iteration reaches it."""
    return (Sweep(http, data) for data in listed(http, "/v1/sweeps", {}, limit))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
