"""The fused kernel for CUDA against its twin on the CPU; without CUDA in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from tests.test_cells import CLOCK, NETWORKS, SEED, copy, fused, network, universes  # noqa: F401 -- `network`

kernel = pytest.importorskip("leym.engine.cells_triton", reason="Triton is not installed", exc_type=ImportError)
GRID = (6, 13)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # conftest chooses the interpreter where there is no CUDA


def interpreted(network, x, bursts, operands=torch.float32):  # noqa: F811
    state, clock, seed = copy(x).to(DEVICE), torch.tensor(CLOCK).to(DEVICE), torch.tensor(SEED).to(DEVICE)
    gamma = torch.tensor([0.0, 0.01, 0.2]).view(-1, 1, 1, 1).to(DEVICE)
    good = torch.zeros(3, dtype=torch.int64, device=DEVICE)
    law = kernel.TritonCells(network.to(DEVICE).cells(), operands)
    for steps in bursts:
        law.advance(state, gamma, seed, clock, good, steps)
    network.cpu()
    return state.cpu(), clock.cpu(), good.cpu()


def supported(network) -> bool:  # noqa: F811
    filters = network.cells().filters
    return filters is None or filters.shape[0] in (1, 4)


def test_it_computes_what_its_twin_computes(network):  # noqa: F811
    x = universes(network.cells().layers[-1][0].shape[0], GRID)
    if not supported(network):
        with pytest.raises(ValueError, match=r"8 filters.*no fused kernel"):
            kernel.TritonCells(network.cells(), torch.float32)
        return
    expected, *_ = fused(network, x, [3])
    state, clock, good = interpreted(network, x, [2, 1])
    assert (state - expected).abs().max() < 1e-5, "rounding alone"
    assert (x - expected).abs().max() > 0.1, "and the universes have moved"
    assert clock.tolist() == [c + 3 for c in CLOCK] and good.tolist() == [3, 3, 3]


def test_products_of_16_bits_are_summed_in_32():
    network = NETWORKS["NCA that draws"]().requires_grad_(False)  # noqa: F811
    x = universes(network.cells().layers[-1][0].shape[0], GRID)
    expected, *_ = fused(network, x, [1])
    state, *_ = interpreted(network, x, [1], torch.float16)
    assert 1e-6 < (state - expected).abs().max() < 5e-3, "as far as 11 bits of a factor reach"


def test_bits_do_not_depend_on_bursts_and_a_broken_universe_harms_no_other():
    network = NETWORKS["DEEP_QCA, folded"]().requires_grad_(False)  # noqa: F811
    x = universes(network.cells().layers[-1][0].shape[0], GRID)
    whole, *_ = interpreted(network, x, [3])
    assert torch.equal(interpreted(network, x, [1, 2])[0], whole)
    x[1, 0, 4, 4] = float("nan")
    state, _, good = interpreted(network, x, [3])
    assert good.tolist() == [3, 0, 3] and torch.equal(state[[0, 2]], whole[[0, 2]])
