"""The job table against a model of it: any order of what users, workers and time do gives what a few lines say it must.

The model is a dict of jobs and knows no SQL. For a longer look:
`FUZZ_EXAMPLES=2000 pytest tests/integration/jobs/test_jobs_machine.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from leym.contract.problems import Problem
from leym.contract.records import FINAL, Fenced, JobState
from leym.contract.spec import JobSpec
from leym.jobs.quotas import Quotas
from leym.jobs.table import JobTable

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))
LAW = {"law": "tiny@" + "0" * 64, "precision": "fp32", "d_state": 3}
STEPS, CELLS, LEASE_S, MAX_ATTEMPTS, LIVE_JOBS, JOBS = 100, 24, 20.0, 2, 2, 5
PROJECTS = ("a", "b")
FINALS = sorted(FINAL)
BACK = st.sampled_from([0, 0, 0, 1, 2])
AHEAD = st.sampled_from([0, 7, 20, -5])  # of what is committed; behind it as after a resume: what was shown stays


@dataclass
class Model:
    """A job as it must be. claims: every epoch at which somebody held it."""

    id: str
    project: str
    seed: int
    state: str = "queued"
    epoch: int = 0
    attempts: int = 0
    step: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    checkpoint: int | None = None
    deleted: bool = False
    claims: list[int] = field(default_factory=list)

    def held_at(self, epoch: int) -> bool:
        return self.state == "running" and self.epoch == epoch

    def end(self, state: str) -> None:
        self.state = state


class Jobs(RuleBasedStateMachine):
    """`url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.table = JobTable(self.url)
        self.table.quotas = Quotas(live_jobs=LIVE_JOBS)
        self.before = Counter(self.table.totals())  # one database serves all examples: only what is new counts
        self.mark = f"{id(self)}-{os.urandom(8).hex()}"
        self.now = 1_000_000_000.0
        self.jobs: dict[str, Model] = {}
        self.keys: dict[tuple[str, str], tuple[int, str]] = {}
        self.ended: dict[str, str] = {}
        self.claims: list[tuple[str, int, str]] = []  # (job, epoch, owner) of every claim ever: zombies too

    def teardown(self) -> None:
        self.look()
        for job in self.jobs.values():
            self.table.cancel(job.id, now=self.now)
        self.table.close()

    def project(self, name: str) -> JobTable:
        return self.table.of(f"{name}-{self.mark[-16:]}")

    def one(self, which: int) -> Model:
        return list(self.jobs.values())[which % len(self.jobs)]

    # --- users

    @precondition(lambda self: len(self.jobs) < JOBS)
    @rule(name=st.sampled_from(PROJECTS), seed=st.integers(0, 2), key=st.sampled_from([None, "k", "l"]))
    def submit(self, name: str, seed: int, key: str | None) -> None:
        spec = JobSpec.model_validate({"law": "tiny", "grid": [4, 6], "steps": STEPS, "seed": seed})
        live = sum(job.project == name and job.state not in FINAL for job in self.jobs.values())
        known = self.keys.get((name, key)) if key else None

        def ask() -> tuple[Any, bool]:
            full = key and f"{key}-{self.mark}"
            return self.project(name).submit(spec, **LAW, idempotency_key=full, now=self.now)

        if known and known[0] == seed:
            job, created = ask()
            assert (job.id, created) == (known[1], False)
        elif known or live >= LIVE_JOBS:
            with pytest.raises(Problem) as refusal:
                ask()
            assert refusal.value.status == (422 if known else 429)
        else:
            job, created = ask()
            assert created
            assert job.id not in self.jobs
            self.jobs[job.id] = Model(job.id, name, seed)
            if key:
                self.keys[name, key] = seed, job.id

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 99), doing=st.sampled_from(["another", "delete", "cancel"]))
    def user(self, which: int, doing: str) -> None:
        """One rule for all three, so that they do not end every job before anything happens to it."""
        {"another": self.another, "delete": self.delete, "cancel": self.cancel}[doing](self.one(which))

    def cancel(self, job: Model) -> None:
        assert self.project(job.project).cancel(job.id, now=self.now).final
        if job.state not in FINAL:
            job.end("cancelled")
            job.epoch += 1

    def delete(self, job: Model) -> None:
        if job.state not in FINAL:
            with pytest.raises(Problem) as refusal:
                self.table.delete(job.id, now=self.now)
            assert refusal.value.status == 409
        else:
            self.table.delete(job.id, now=self.now)
            job.deleted, job.checkpoint = True, None

    def another(self, job: Model) -> None:
        """Project finds nothing."""
        other = self.project(PROJECTS[job.project == PROJECTS[0]])
        for ask in (other.get, other.cancel, other.delete):
            with pytest.raises(Problem) as refusal:
                ask(job.id)
            assert refusal.value.status == 404

    # --- workers

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 99), owner=st.sampled_from(["v", "w"]), late=st.booleans())
    def claim(self, which: int, owner: str, late: bool) -> None:
        """late: its holder has fallen silent, was reaped, and does not know it yet."""
        job = self.one(which)
        if late and job.state == "running":
            self.now += LEASE_S + 1
            self.reap()
        free = job.state == "queued"
        claim = self.table.claim(job.id, owner, LEASE_S, MAX_ATTEMPTS, now=self.now)
        if free and job.attempts < MAX_ATTEMPTS:
            job.state, job.owner, job.lease_until = "running", owner, self.now + LEASE_S
            job.epoch, job.attempts = job.epoch + 1, job.attempts + 1
            assert claim
            assert claim.epoch == job.epoch
            assert job.epoch not in job.claims
            job.claims.append(job.epoch)
            self.claims.append((job.id, job.epoch, owner))
        else:
            assert claim is None
            if free:
                job.end("failed")

    def claimed(self, back: int) -> tuple[Model, int, str]:
        """Small numbers mean recent claims, which are mostly still held."""
        job, epoch, owner = self.claims[-1 - back % len(self.claims)]
        return self.jobs[job], epoch, owner

    @precondition(lambda self: self.claims)
    @rule(back=st.lists(BACK, min_size=1, max_size=3))
    def renew(self, back: list[int]) -> None:
        claims = [self.claimed(n) for n in back]
        owner, asked = claims[0][2], {job.id: epoch for job, epoch, _ in claims}
        kept = self.table.renew(owner, asked, LEASE_S, now=self.now)
        assert kept == {j for j, e in asked.items() if self.jobs[j].held_at(e) and self.jobs[j].owner == owner}
        for job in kept:
            self.jobs[job].lease_until = self.now + LEASE_S

    @precondition(lambda self: self.claims)
    @rule(back=BACK, ahead=AHEAD, checkpoint=st.booleans(), state=st.sampled_from([None] * 5 + FINALS))
    def write(self, back: int, ahead: int, checkpoint: bool, state: str | None) -> None:
        """A commit, or with a state the last one."""
        job, epoch, _ = self.claimed(back)
        step = max(job.step + ahead, 0)
        said = {"step": step, "manifest": {"of": epoch}, "checkpoint": {"step": step} if checkpoint else None}

        def ask() -> None:
            if state is None:
                self.table.commit(job.id, epoch, **said)
            else:
                self.table.finish(job.id, epoch, JobState(state), **said, now=self.now)

        if not job.held_at(epoch):
            with pytest.raises(Fenced):
                ask()
            return
        ask()
        job.attempts = 1 if step > job.step else job.attempts
        job.step = max(step, job.step)
        job.checkpoint = step if checkpoint else job.checkpoint
        if state:
            job.end(state)

    @precondition(lambda self: self.claims)
    @rule(back=BACK)
    def hand_back(self, back: int) -> None:
        job, epoch, _ = self.claimed(back)
        assert self.table.hand_back(job.id, epoch) == job.held_at(epoch)
        if job.held_at(epoch):
            job.state, job.owner, job.attempts = "queued", None, max(job.attempts - 1, 0)

    # --- time

    @rule(seconds=st.sampled_from([1.0, 15.0, LEASE_S, LEASE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(job.state == "running" for job in self.jobs.values()))
    @rule()
    def reap(self) -> None:
        lost = {job.id for job in self.jobs.values() if job.state == "running" and job.lease_until < self.now}
        seen = self.table.leases()
        assert seen == {id: (j.epoch, j.lease_until) for id, j in self.jobs.items() if j.state == "running"} | {
            id: lease for id, lease in seen.items() if id not in self.jobs
        }
        renewed = {id: (epoch, until - 1.0) for id, (epoch, until) in seen.items()}
        assert self.table.reap(renewed, MAX_ATTEMPTS, now=self.now) == []
        assert set(self.table.reap({id: seen[id] for id in lost}, MAX_ATTEMPTS, now=self.now)) == lost
        for job in (self.jobs[id] for id in lost):
            if job.attempts >= MAX_ATTEMPTS:
                job.end("failed")
            else:
                job.state, job.owner = "queued", None

    # --- what must be true

    @invariant()
    def every_row_is_as_the_model_says(self) -> None:
        for found in self.table.find(list(self.jobs)):
            job = self.jobs[found.id]
            assert (str(found.state), found.epoch, found.attempts, found.step) == (
                *(job.state, job.epoch, job.attempts, job.step),
            )
            assert (found.checkpoint or {}).get("step") == job.checkpoint
            assert (found.deleted_at is not None) == job.deleted
            if found.final:
                assert self.ended.setdefault(found.id, str(found.state)) == str(found.state), "an end never changes"
            else:
                assert found.id not in self.ended
                assert found.owner == job.owner

    @rule()
    def look(self) -> None:
        self.lists_and_counts_are_those_of_the_model()
        self.totals_have_counted_everything_once()

    def lists_and_counts_are_those_of_the_model(self) -> None:
        for name in PROJECTS:
            mine = [job for job in self.jobs.values() if job.project == name and not job.deleted]
            table, seen, cursor, first = self.project(name), [], None, True
            while first or cursor:
                page, cursor = table.list(limit=2, cursor=cursor)
                seen, first = seen + [job.id for job in page], False
            assert seen == sorted((job.id for job in mine), reverse=True)
            states = Counter(job.state for job in mine)
            assert table.counts() == {str(state): states[str(state)] for state in JobState}
            left = sum((STEPS - min(j.step, STEPS)) * CELLS for j in mine if j.state in ("queued", "running"))
            assert table.backlog(now=self.now)["cell_steps"] == left
            waiting, _ = table.list(state="queued", limit=200)
            assert {job.id for job in waiting} == {job.id for job in mine if job.state == "queued"}

    def totals_have_counted_everything_once(self) -> None:
        states = Counter(job.state for job in self.jobs.values())
        want = {"submitted": len(self.jobs), **{state: states[state] for state in FINALS}}
        want["cell_steps"] = sum(job.step * CELLS for job in self.jobs.values())
        found = self.table.totals()
        assert {name: found[name] - self.before[name] for name in want} == want


def test_any_order_of_doings(url, monkeypatch):
    monkeypatch.setattr(Jobs, "url", url)
    examples = EXAMPLES if url.startswith("sqlite") else max(5, EXAMPLES // 8)
    chosen = settings(max_examples=examples, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Jobs, settings=settings(chosen, suppress_health_check=list(HealthCheck)))
