"""What a law costs, counted by hand; what an engine says it reached."""

from __future__ import annotations

import json
import math
from time import sleep

import pytest
import torch

from leym.engine.device import pick_device
from leym.engine.loading import LawCache
from leym.engine.roofline import Ceilings, cost_of
from tests.support.command import leym_here
from tests.support.engines import KINDS, a_run
from tests.support.laws import random_law


def resident(law, precision="fp32"):
    return LawCache(pick_device("cpu"), compile=False).resident(law, precision)


def test_the_cost_of_per_cell_laws_is_that_of_their_products(tmp_path):
    d, h, grid = 3, 16, (8, 12)
    mlp = resident(random_law(tmp_path / "mlp", "MLP", d=d, c=h))
    found = cost_of(mlp.network, mlp.bundle.manifest, grid, batch_size=4)
    assert found.flops == 2 * (2 * d * h + h * h + h * 2 * d)
    weights = 4 * (2 * d * h + h + h * h + h + h * 2 * d + 2 * d)
    assert found.bytes == pytest.approx(2 * 4 * 2 * d + weights / 4 / math.prod(grid))
    nca = resident(random_law(tmp_path / "nca", "NCA", d=d, c=h, options={"update_rate": 0.5}))
    assert cost_of(nca.network, nca.bundle.manifest, grid).flops == 2 * (4 * 2 * d * 9 + 8 * d * h + h * 2 * d)


def test_a_memory_is_read_and_written_too(tmp_path):
    law = resident(random_law(tmp_path / "law", "UNET_CONVLSTM"))
    manifest, grid = law.bundle.manifest, (16, 16)
    state, memory = 2 * manifest.d_state * 256, math.prod(law.memory_shape(grid))
    weights = sum(parameter.nbytes for parameter in law.network.parameters())
    assert cost_of(law.network, manifest, grid).bytes == pytest.approx((8 * (state + memory) + weights) / 256)


@pytest.mark.parametrize("architecture", KINDS)
def test_every_law_has_a_cost_that_does_not_depend_on_its_precision(architecture, tmp_path):
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    costs = [cost_of(resident(law, p).network, law.manifest, (16, 16)).flops for p in ("fp32", "nf4")]
    assert costs[0] == costs[1] > 0


def test_an_engine_says_which_share_of_its_ceilings_it_reached(engines, tmp_path):
    law = random_law(tmp_path / "law", "MLP")
    engine = engines(slots=2)
    assert engine.info()["roofline"] == {}
    engine.counters.ceilings = Ceilings(operand_flops=2e6, fp32_flops=1e6, bytes_per_s=5e5)
    run = a_run(law, steps=40)
    engine.submit(run)
    run.sink.wait()
    engine.stop()
    info, cost = engine.info(), engine.buckets[run.bucket].cost
    found, cells = info["roofline"], 40 * 16 * 16
    assert found["gflops"] * info["busy_s"] * 1e9 == pytest.approx(cells * cost.flops)
    ceiling = 2e6 if engine.buckets[run.bucket].law.operands != torch.float32 else 1e6
    assert found["compute_share"] == pytest.approx(found["gflops"] * 1e9 / ceiling)
    assert found["memory_share"] == pytest.approx(found["gbytes_per_s"] * 1e9 / 5e5)


@pytest.mark.parametrize("ahead", [False, True])
def test_an_engine_says_how_long_it_did_not_step_while_it_had_work(ahead, engines, tmp_path, monkeypatch):
    engine = engines(slots=2, ahead=ahead)
    post, dawdled = engine._results.post, []

    def dawdling(*arguments):
        dawdled.append(0.02)
        sleep(0.02)
        post(*arguments)

    monkeypatch.setattr(engine._results, "post", dawdling)
    run = a_run(random_law(tmp_path / "law", "MLP"), steps=40)
    engine.submit(run)
    run.sink.wait()
    engine.stop()
    info = engine.info()
    seated = 2  # that it has a slot, and its first frame, are told before there is work
    assert info["busy_s"] - info["stepping_s"] >= sum(dawdled[seated:]) > 0.1
    assert info["stepping_s"] > 0
    assert info["idle_share"] == pytest.approx(1 - info["stepping_s"] / info["busy_s"])


@pytest.mark.slow
def test_bench_prints_what_was_reached_beside_what_was_measured(tmp_path):
    random_law(tmp_path / "laws" / "some", "MLP")
    size = ["--seconds", "0.3", "--grid", "16", "16", "--slots", "2"]
    done = leym_here("bench", "some", *size, "--json", LEYM_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cell_steps_per_s"] > 0
    assert found["kernel"] in ("fused", "inductor", "eager")
    ceiling = found["ceilings"]["fp32_gflops" if "float32" in found["device"] else "operand_gflops"]
    assert found["compute_share"] == pytest.approx(found["gflops"] / ceiling, rel=0.01)
    done = leym_here("bench", "nobody")
    assert done.returncode == 1
    assert "there is no law 'nobody'" in done.stderr
