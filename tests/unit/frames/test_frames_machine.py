"""One job's frames in any order of writers, their commits, crashes, zombies, held-up deletions and slow readers.

The model is a function of the step (`tests.support.frames.frame`): a reader is shown a growing prefix of it.
`tests/integration/frames/test_garbage.py` does the same to many jobs, forks and collectors, and goes less deep.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.job_world import World, world


def taken_over(made: World) -> None:
    """The lease of whoever has the job runs out; another one goes on from the last checkpoint."""
    made.silence()
    made.claim(0)


DOINGS = {
    "write and commit": lambda w, n: w.work(n),
    "write, and the commit never comes": lambda w, n: w.work(n, commit=False),
    "checkpoint": lambda w, n: w.work(n, checkpoint=True),
    "commit, and be held up": lambda w, n: w.work(n, tidy=False),
    "checkpoint, and be held up": lambda w, n: w.work(n, checkpoint=True, tidy=False),
    "remove what the commit replaced": lambda w, n: w.tidy(n),
    "another takes over": lambda w, n: taken_over(w),
    "a reader looks": lambda w, n: w.open(0),
    "readers read": lambda w, n: w.read(),
}
ORDER = st.lists(st.tuples(st.sampled_from(sorted(DOINGS)), st.integers(0, 13)), min_size=5, max_size=30)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))


def play(store_url: str, order: list[tuple[str, int]]) -> None:
    with world(store_url) as made:
        made.submit()
        made.claim(0)
        for doing, n in order:
            DOINGS[doing](made, n)
            made.check()
        made.read()


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(ORDER)
def test_readers_are_shown_a_growing_prefix_whoever_writes(order):
    play("memory://", order)


@settings(max_examples=max(2, EXAMPLES // 25), deadline=None, suppress_health_check=list(HealthCheck))
@given(ORDER)
def test_the_same_in_real_stores(store_url, order):
    play(store_url, order)
