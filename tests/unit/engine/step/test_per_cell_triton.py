"""The fused kernel for CUDA against its twin on the CPU; without CUDA in Triton's interpreter."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from leym.engine.step.batch_tensors import BatchTensors
from leym.laws.networks.deep_qca import DeepQCA
from leym.laws.networks.mlp import MLP
from leym.physics.constraint import Box
from tests.support.per_cell import CLOCK, NETWORKS, fused, nca, tensors_of, universes

kernel = pytest.importorskip("leym.engine.step.per_cell_triton", reason="Triton is not installed", exc_type=ImportError)
GRID = (6, 13)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # conftest chooses the interpreter where there is no CUDA


def interpreted(network, x, bursts, operands=torch.float32, empty=(), constraint="unit", **sizes):
    tensors = BatchTensors(*(tensor.to(DEVICE) for tensor in tensors_of(x, [0, 1, 2])))
    tensors.occupied[list(empty)] = 0
    law = kernel.TritonCells(network.to(DEVICE).per_cell_weights(), operands, constraint, **sizes)
    for steps in bursts:
        law.advance(tensors, steps)
    network.cpu()
    return tensors.state.cpu(), tensors.clock.cpu(), tensors.good.cpu()


def supported(network) -> bool:
    filters = network.per_cell_weights().filters
    return filters is None or filters.shape[0] in (1, 4)


def test_it_computes_what_its_twin_computes(network):
    x = universes(network.per_cell_weights().layers[-1][0].shape[0], GRID)
    if not supported(network):
        with pytest.raises(ValueError, match=r"8 filters.*no fused kernel"):
            kernel.TritonCells(network.per_cell_weights(), torch.float32)
        return
    expected, *_ = fused(network, x, [3])
    state, clock, good = interpreted(network, x, [2, 1])
    assert (state - expected).abs().max() < 1e-5, "rounding alone"
    assert (x - expected).abs().max() > 0.1, "and the universes have moved"
    assert clock.tolist() == [c + 3 for c in CLOCK]
    assert good.tolist() == [3, 3, 3]


@pytest.mark.parametrize("constraint", ["none", Box(box=(-0.25, 0.5))], ids=str)
def test_it_keeps_the_constraint_as_its_twin_does(constraint):
    network = NETWORKS["NCA that draws"]().requires_grad_(False)
    x = universes(network.per_cell_weights().layers[-1][0].shape[0], GRID)
    expected, *_ = fused(network, x, [2], constraint=constraint)
    state, *_ = interpreted(network, x, [2], constraint=constraint)
    assert (state - expected).abs().max() < 1e-5, "rounding alone"
    x[1, 0, 4, 4] = float("inf")
    assert interpreted(network, x, [2], constraint=constraint)[2].tolist() == [2, 0, 2]


def test_products_of_16_bits_are_summed_in_32():
    network = NETWORKS["NCA that draws"]().requires_grad_(False)
    x = universes(network.per_cell_weights().layers[-1][0].shape[0], GRID)
    expected, *_ = fused(network, x, [1])
    state, *_ = interpreted(network, x, [1], torch.float16)
    assert 1e-6 < (state - expected).abs().max() < 5e-3, "as far as 11 bits of a factor reach"


@pytest.mark.slow
def test_bits_do_not_depend_on_bursts_and_a_broken_universe_harms_no_other():
    network = NETWORKS["DEEP_QCA, folded"]().requires_grad_(False)
    x = universes(network.per_cell_weights().layers[-1][0].shape[0], GRID)
    whole, *_ = interpreted(network, x, [3])
    assert torch.equal(interpreted(network, x, [1, 2])[0], whole)
    assert (interpreted(network, x, [3], block=32, warps=8)[0] - whole).abs().max() < 1e-5, "rounding alone"
    assert torch.equal(interpreted(network, x, [3], empty=[1])[0][[0, 2]], whole[[0, 2]]), "nor on who is there"
    x[1, 0, 4, 4] = float("nan")
    state, _, good = interpreted(network, x, [3])
    assert good.tolist() == [3, 0, 3]
    assert torch.equal(state[[0, 2]], whole[[0, 2]])


def test_it_serves_what_a_gpu_has_room_for():
    def served(network, operands=torch.bfloat16) -> bool:
        return kernel.serves(network.per_cell_weights(), operands)

    assert served(MLP(8, 128))
    assert served(DeepQCA(8, 128).folded())
    assert served(nca(8, 256))
    assert not served(MLP(8, 128), torch.float32), "spills"
    assert not served(MLP(8, 130)), "a matrix of 256 x 256 is more than the shared memory of an L4"
    assert not served(nca(40, 64)), "too wide; eight filters"
    assert not served(DeepQCA(9, 33)), "too wide; eight filters"


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="Triton brings the assembler for x86-64 alone")
def test_it_compiles_for_the_gpus_of_production(tmp_path):
    """To machine code, which needs no GPU: with tensor cores, within shared memory and registers."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.triton_targets"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 6, "three laws on two cards"
    for row in rows:
        assert row["products"] == [{"L4": "mma.sync", "H100": "wgmma.mma_async"}[row["card"]]]
        assert row["shared_bytes"] <= 99 * 1024, row
        assert row["spilled_bytes"] == 0, row
