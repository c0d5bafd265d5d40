"""LENIA against scipy, and its glider through the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from scipy.signal import convolve2d

from leym.contract.spec import Recording
from leym.laws.networks.lenia import Lenia, ring_kernel
from tests.support.engines import a_run
from tests.support.laws import write_law

# A glider that noise turned into, averaged over blocks of 2 x 2 cells, in twentieths. It becomes Orbium in a few steps.
GLIDER = """
    0  0  0  0  2  0  0  0  0  0  0
    0  0  2  8  2  1  0  0  0  0  0
    0  3  7  0  0  2  4  2  0  0  0
    1  3  0  0  0  3  6  5  2  0  0
    3  0  0  5 12  7  4  6  1  0  0
    4  3 12 19 15 11  4  1  2  0  0
    5 10 15 14 19  9  0  0  3  2  0
    3  9 13 16 11  0  0  1  8  0  0
    1  5  9  8  1  0  2  8  0  0  0
    0  1  3  5  3  3  3  0  0  0  0
"""
SIDE = 64


@pytest.fixture
def law(tmp_path):
    weights = {key: value.numpy() for key, value in Lenia(1, 13).requires_grad_(False).state_dict().items()}
    said = {"architecture": "LENIA", "d_state": 1, "hidden_channels": 13, "form": "additive"}
    return write_law(tmp_path / "lenia", weights, **said, constraint={"box": [0, 1]})


def glider() -> np.ndarray:
    cells = np.array([row.split() for row in GLIDER.strip().splitlines()], float) / 20
    psi = np.zeros((SIDE, SIDE, 1), np.complex64)
    psi[20:40, 20:42, 0] = zoom(np.pad(cells, 1), 2, order=1, grid_mode=True, mode="grid-constant")[2:-2, 2:-2]
    return psi


def centre(world: np.ndarray) -> np.ndarray:
    """The circular mean of the mass along both axes of the torus, in cells."""
    angles = np.exp(2j * np.pi * np.arange(SIDE) / SIDE)
    return np.angle([world.sum(1) @ angles, world.sum(0) @ angles]) / (2 * np.pi) * SIDE


@pytest.mark.parametrize("peaks", [(1.0,), (0.5, 1.0, 0.25)])
def test_kernels_are_rings(peaks):
    kernel = ring_kernel(13, peaks).numpy()
    assert kernel.sum() == pytest.approx(1)
    assert kernel[13, 13] == 0
    np.testing.assert_allclose(kernel, kernel.T)
    radial = kernel[13, 13:]
    tops = [radial[int(r)] for r in np.round((np.arange(len(peaks)) + 0.5) / len(peaks) * 13)]
    assert np.allclose(np.array(tops) / max(tops), peaks, atol=0.12), "each ring has its height, at its middle"
    assert kernel[0, 0] == 0, "and nothing is beyond the radius"


@pytest.mark.parametrize("shape", [(20, 31), (5, 8)], ids=["large", "smaller than the kernel"])
def test_growth_is_that_of_the_paper(shape):
    network = Lenia(2, 4).requires_grad_(False)
    network.kernel.weight[1] = ring_kernel(4, (1.0, 0.5))
    network.mu[2], network.sigma[3], network.dt[0] = 0.3, 0.05, 0.2
    x = torch.rand(2, 4, *shape)
    found = network(x)
    for c, (mu, sigma) in enumerate([(0.15, 0.015), (0.15, 0.015), (0.3, 0.015), (0.15, 0.05)]):
        kernel = network.kernel.weight[c, 0].double().numpy()
        wide = np.pad(x[1, c].double().numpy(), 4, mode="wrap")
        u = convolve2d(wide, kernel, "valid")  # the kernel is symmetric
        expected = 0.2 * (2 * np.exp(-((u - mu) ** 2) / (2 * sigma**2)) - 1)
        np.testing.assert_allclose(found[1, c].numpy(), expected, atol=1e-4)


def test_orbium_glides(law, tmp_path):
    from leym.engine.engine import Engine

    engine = Engine(1, compile=False)
    engine.start()
    try:
        record = (Recording(field="psi", every=20),)
        grid = {"grid": (SIDE, SIDE), "gamma": 0.0, "precision": "fp32"}
        run = a_run(law, steps=160, initial=glider(), record=record, **grid)
        engine.submit(run)
        psi = run.sink.wait().psi()
    finally:
        engine.stop()
    assert not psi.imag.any(), "the other world is empty and stays so"
    worlds = psi[3:, ..., 0].real.astype(float)
    mass = worlds.sum((1, 2))
    assert np.all(np.abs(mass - 71) < 4), mass
    moves = np.diff([centre(world) for world in worlds], axis=0)
    moves = (moves + SIDE / 2) % SIDE - SIDE / 2  # around the torus
    assert np.linalg.norm(moves, axis=1) == pytest.approx(np.full(len(moves), 12), abs=1.5), "0.6 cells per step"
    assert np.abs(moves - moves.mean(0)).max() < 1.5, "always the same way"
