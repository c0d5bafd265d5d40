"""Plans of the fidelity gate for tests."""

from __future__ import annotations

from leym.contract.fidelity_plan import Plan

TINY = Plan(
    grid=(8, 8),
    members=4,
    spin_up=4,
    steps=24,
    every=4,
    pairs=2,
    paired_steps=3,
    rounds=2,
    settle=1,
    permutations=19,
    information=True,
)
