"""What the benchmarks reckon with, and what they say where something they measure against is not installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from benchmarks.common import Machine, cost_per_cell_step, make_law
from benchmarks.jax_arm import in_its_own_process, weights_of
from benchmarks.litserve_arm import litserve_arm, summary
from benchmarks.rivals import poisson
from benchmarks.service import shares
from leym.engine.roofline import Cost
from leym.laws.network import load_weights


def test_arrivals_come_at_their_rate_and_begin_at_once():
    lengths = list(range(1, 2001))
    arrivals = poisson(lengths, jobs_per_s=50.0)
    moments = [at for at, _ in arrivals]
    assert moments[0] == 0 and moments == sorted(moments) and [steps for _, steps in arrivals] == lengths
    assert len(moments) / moments[-1] == pytest.approx(50, rel=0.1)
    assert np.std(np.diff(moments)) == pytest.approx(1 / 50, rel=0.15), "exponential gaps"


def test_a_summary_counts_from_the_first_arrival_to_the_last_answer():
    found = summary([(1.0, 100), (2.0, 300)], (4, 8), ["a", "b"], [2.0, 3.0], [3.0, 5.0])
    assert found["cell_steps_per_s"] == 400 * 32 / 4 and found["p50_s"] == 2.5 and found["digests"] == ["a", "b"]


def test_shares_are_of_what_came_between():
    before = {"slot_steps": 10, "lane_steps": 20, "busy_s": 5.0, "stepping_s": 1.0}
    after = {"slot_steps": 40, "lane_steps": 60, "busy_s": 9.0, "stepping_s": 4.0}
    assert shares(before, after) == {"occupancy": 0.75, "idle": 0.25}


def test_a_roofline_is_what_was_done_over_what_the_machine_can_do(tmp_path):
    law = make_law("mlp", tmp_path)
    small, large = (cost_per_cell_step(law, (64, 64), rung) for rung in (1, 8))
    assert small.flops == large.flops == 2 * (16 * 128 + 128 * 128 + 128 * 16) and large.bytes < small.bytes
    machine = Machine("stand-in", bf16_gemm=4e9, fp32_gemm=4e9, copy=2e9)
    found = machine.roofline(1e5, Cost(flops=1e4, bytes=1e4))
    assert found == {
        "gflops": 1.0, "gemm_share": 0.25, "operand_gemm_share": 0.25, "gbytes_per_s": 1.0, "copy_share": 0.5
    }  # fmt: skip


def test_weights_for_jax_are_those_of_the_network(tmp_path):
    law = make_law("nca", tmp_path)
    mine, theirs = weights_of(law), load_weights(law)
    x = torch.randn(5, 64)
    hidden = torch.nn.functional.linear(x, theirs["net.0.weight"].flatten(1), theirs["net.0.bias"])
    np.testing.assert_allclose(x.numpy() @ mine["w1"] + mine["b1"], hidden.numpy(), atol=1e-5)
    filters = theirs["perceive.weight"].unflatten(0, (-1, 4)).squeeze(2)
    assert all(np.array_equal(mine["filters"], of_channel.numpy()) for of_channel in filters)


def test_where_a_rival_is_not_installed_its_arm_says_so(tmp_path):
    law = make_law("nca", tmp_path)
    if not importlib.util.find_spec("jax"):
        assert "jax" in in_its_own_process(law, (8, 8), 1, 0.1)["error"]
    if not importlib.util.find_spec("litserve"):
        assert "litserve" in litserve_arm("batched", law, "nf4", (8, 8), 1, [(0.0, 1)], "ours")["error"]
