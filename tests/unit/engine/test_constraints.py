"""Laws with other constraints than the unit cell through the engine, its checkpoints and the gate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter
from scipy.signal import convolve2d

from leym.contract.fidelity_plan import Plan
from leym.contract.spec import Observe, RandomState, Recording, Seed
from leym.engine.states import Checkpoint
from leym.fidelity.ensemble import Subject
from leym.fidelity.measurement import run_and_measure
from leym.laws.bundle import WEIGHTS
from leym.physics.philox import uniform
from tests.support.engines import COMPILED, a_run
from tests.support.laws import growing_law, load_file, random_law, write_law

EACH = (Recording(field="psi", every=1),)
SEED_START = {"initial": Seed(), "precision": "fp32", "grid": (12, 9), "record": EACH}


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    return growing_law(tmp_path_factory.mktemp("laws"))


def numpy_step(weights: dict[str, np.ndarray], x: np.ndarray, seed: int, clock: int, gamma: float) -> np.ndarray:
    """A step of the growing law, x: [8, H, W], by scipy in float64."""
    seen = [
        convolve2d(c, f[0][::-1, ::-1], "same")
        for c, fs in zip(x, np.split(weights["perceive.weight"], 8), strict=True)
        for f in fs
    ]
    hidden = np.einsum("oi,ihw->ohw", weights["net.0.weight"][..., 0, 0], np.array(seen))
    hidden += weights["net.0.bias"][:, None, None]
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    y = np.einsum("oi,ihw->ohw", weights["net.2.weight"][..., 0, 0], hidden) + weights["net.2.bias"][:, None, None]
    drawn = uniform(torch.tensor([seed]), torch.tensor([clock]), x.shape[1:])[0, 0].numpy()
    after = x + y * (drawn < 0.5) - gamma * x
    lives = [maximum_filter(state[3], 3, mode="constant", cval=-np.inf) > 0.1 for state in (x, after)]
    return after * (lives[0] & lives[1])


def test_a_growing_law_does_what_numpy_says(growing, engines):
    run = a_run(growing, steps=12, seed=3, **SEED_START)
    engines().submit(run)
    psi = run.sink.wait().psi()
    weights = {key: value.astype(float) for key, value in load_file(growing.path / WEIGHTS).items()}
    x = np.concatenate([psi[0].real, psi[0].imag], -1).transpose(2, 0, 1).astype(float)
    for t in range(12):
        x = numpy_step(weights, x, 3, t, 0.01)
        found = np.concatenate([psi[t + 1].real, psi[t + 1].imag], -1).transpose(2, 0, 1)
        np.testing.assert_allclose(found, x, atol=1e-5)
    living = (np.abs(psi) > 0).any(-1).sum((1, 2))
    assert living[0] == 1 < living[1] <= 9, "it grows from one cell by a ring of cells per step at the most"
    assert living[12] > 9
    assert living[12] < 12 * 9, "and most of the grid is empty still"


@pytest.mark.parametrize("compile", [False, COMPILED])
@pytest.mark.parametrize("living", [True, False])
def test_bits_are_the_same_alone_and_in_a_full_batch(living, compile, engines, tmp_path):
    """Without a living mask a fused kernel steps it where there is a compiler."""
    law = growing_law(tmp_path, **({} if living else {"living": None, "constraint": {"box": [-0.5, 1]}}))
    engine = engines(slots=4, compile=compile)
    alone = a_run(law, steps=20, seed=7, **SEED_START)
    engine.submit(alone)
    expected = alone.sink.wait().psi()
    assert engine.attributes(alone)["kernel"] == ("eager" if not compile else "inductor" if living else "fused")
    runs = [a_run(law, id=str(i), steps=20, seed=5 + i, **SEED_START) for i in range(4)]
    for run in runs:
        engine.submit(run)
    found = [run.sink.wait().psi() for run in runs]
    assert np.array_equal(found[2], expected)
    assert not np.array_equal(found[1], expected)
    assert np.abs(expected[-1]).max() > 0.01


def test_a_damaged_universe_resumes_with_the_same_bits(growing, engines):
    whole = a_run(growing, steps=20, seed=5, **SEED_START)
    engines(checkpoint_s=0.0).submit(whole)
    psi = whole.sink.wait().psi()
    for step in sorted(whole.sink.checkpoints)[::5]:
        rest = a_run(growing, steps=20, seed=5, **SEED_START, start=Checkpoint(step, whole.sink.checkpoints[step]))
        engines().submit(rest)
        assert np.array_equal(rest.sink.wait().psi()[-1], psi[-1])
    damaged = psi[10].copy()
    damaged[:, 4:] = 0
    again = a_run(growing, id="again", steps=1, seed=5, **(SEED_START | {"initial": damaged}))
    engines().submit(again)
    assert np.array_equal(again.sink.wait().psi()[0], damaged), "an uploaded state is not normalised"


def test_fields_show_it(growing, engines):
    fields = ("psi", "rgb", "density", "activity")
    record = tuple(Recording(field=field, every=1) for field in fields)
    run = a_run(growing, steps=5, observe=Observe(every=1), **(SEED_START | {"record": record}))
    engines().submit(run)
    recorded = run.sink.wait().fields
    frames = {field: np.stack([recorded[step][field] for step in range(6)]) for field in fields}
    empty = np.abs(frames["psi"]).sum(-1) == 0
    assert (frames["rgb"][empty] == 1).all(), "an empty cell is white"
    assert not frames["activity"][1:][empty[1:] & empty[:-1]].any()
    assert np.isfinite(frames["rgb"]).all()


def test_a_law_in_a_box_stays_in_it_and_starts_in_it(engines, tmp_path):
    law = random_law(tmp_path / "law", "MLP", d=2, c=8)
    said = law.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form"})
    boxed = write_law(tmp_path / "boxed", load_file(law.path / WEIGHTS), **said, constraint={"box": [0, 0.5]})
    run = a_run(boxed, steps=9, record=EACH, initial=RandomState())
    engines().submit(run)
    parts = np.stack([(psi := run.sink.wait().psi()).real, psi.imag])
    assert parts.min() == 0
    assert parts.max() == 0.5
    assert 0.1 < parts[:, 0].mean() < 0.4


@pytest.mark.parametrize("more", [{}, {"living": None, "constraint": {"box": [-0.5, 1.0]}}])
def test_the_gate_measures_it(more, engines, tmp_path):
    law = growing_law(tmp_path, **more)
    plan = Plan(grid=(8, 8), members=4, spin_up=4, steps=24, every=4, pairs=2, rounds=3, settle=1, permutations=19)
    plan = plan.with_(deciding=(*plan.deciding, "lyapunov"))
    measured, trajectories = run_and_measure(engines(), Subject(law, "fp32"), range(4), plan)
    assert measured.members == 4
    assert not measured.flags
    for name, values in measured.values.items():
        assert np.isfinite(values).all(), name
    assert np.abs(measured.values["lyapunov"]).min() > 1e-6
    norms = trajectories.psi.abs().square().sum(-1)
    assert (norms - 1).abs().max() > 0.1, "cells were not normalised on the way"
