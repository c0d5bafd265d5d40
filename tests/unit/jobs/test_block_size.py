"""The size of a block follows from the work and the bytes of its members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leym.contract.records import Worker
from leym.jobs.block_size import MEMBERS, SPEED, members_per_block, speed_of


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, MEMBERS),  # tiny members: 4096 of them take less than 10 s
        ({"cell_steps": 5_000_000}, 10),
        ({"cell_steps": 10**12, "size": 10_000}, 1),
        ({"cell_steps": 5_000_000, "speed": 5e8}, 1000),
        ({"recorded_bytes": 2**20}, 256),
        ({"state_bytes": 2**30}, 1),
        ({"size": 1_000_000, "cell_steps": 50_000_000}, 100),  # at most 10,000 blocks
        ({"size": 800, "workers": 10, "cell_steps": 500_000}, 20),  # four blocks for each worker
        ({"size": 800, "workers": 10, "cell_steps": 5000}, 1000),  # too little work to spread
        ({"most": 7}, 7),
    ],
)
def test_a_block_is_seconds_of_work(how, expected):
    given = {"size": 20_000, "cell_steps": 640, "recorded_bytes": 100, "state_bytes": 2048} | how
    assert members_per_block(**given) == expected


@given(*(st.integers(1, 10**9) for _ in range(5)), st.integers(0, 100), st.integers(1, 10**5))
def test_a_block_has_members_and_no_more_than_allowed(size, cell_steps, recorded, state, speed, workers, most):
    n = members_per_block(
        size=size, cell_steps=cell_steps, recorded_bytes=recorded, state_bytes=state, speed=speed, workers=workers,
        most=most,
    )  # fmt: skip
    assert 1 <= n <= min(most, MEMBERS)
    assert n == 1 or (n * recorded <= 2**28 and n * state <= 2**30)


def test_the_speed_is_the_mean_of_what_workers_report():
    workers = [
        Worker(str(i), "host", i, "cpu", "ready", cell_steps_per_s=speed) for i, speed in enumerate([0, 2e6, 4e6])
    ]
    assert speed_of(workers) == 3e6
    assert speed_of(workers[:1]) == 0
    assert SPEED > 0
