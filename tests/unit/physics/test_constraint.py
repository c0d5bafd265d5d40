"""The constraints and the living mask of the step against numpy, cell by cell, and what a manifest may say of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from leym.contract.spec import ComplexNoise, RandomState, Seed, Zeros
from leym.engine.run import initial_state
from leym.laws.bundle import WEIGHTS, Manifest, digest_of, read_bundle
from leym.laws.networks.nca import NCA
from leym.laws.starts import check_start
from leym.physics import structure
from leym.physics.constraint import Box, Living
from leym.physics.dynamics import autocorrelation
from leym.physics.observables import StateView
from leym.physics.step import alive, constrain, step, to_complex
from tests.support.laws import random_law

FIELDS = {"name": "law", "architecture": "NCA", "d_state": 2, "hidden_channels": 4, "form": "additive"}


class Constant(torch.nn.Module):
    def __init__(self, y: torch.Tensor):
        super().__init__()
        self.y = y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.y


def numpy_alive(level: np.ndarray, above: float, periodic: bool) -> np.ndarray:
    """level: [H, W]. Each cell asks its nine cells one by one."""
    h, w = level.shape
    found = np.zeros((h, w), bool)
    for i in range(h):
        for j in range(w):
            for a in (i - 1, i, i + 1):
                for b in (j - 1, j, j + 1):
                    if periodic or (0 <= a < h and 0 <= b < w):
                        found[i, j] |= level[a % h, b % w] > above
    return found


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("constraint", ["none", Box(box=(-0.5, 1.0))], ids=str)
def test_a_step_is_that_of_numpy(constraint, periodic):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(0, 0.6, (3, 4, 7, 6)).astype(np.float32) for _ in range(2))
    x *= rng.random((3, 1, 7, 6)) < 0.2  # few cells live
    gamma = np.array([0.0, 0.1, 0.5], np.float32)
    living = Living(channel=3, above=0.2)
    phi = x + y - gamma[:, None, None, None] * x
    after = phi if constraint == "none" else np.minimum(np.maximum(phi, np.float32(-0.5)), np.float32(1))
    before_and_after = [[numpy_alive(universe[3], 0.2, periodic) for universe in states] for states in (x, after)]
    mask = np.logical_and(*map(np.stack, before_and_after))
    assert 0.05 < mask.mean() < 0.9
    found, _, finite = step(
        Constant(torch.from_numpy(y)),
        "additive",
        torch.from_numpy(x),
        torch.from_numpy(gamma).view(-1, 1, 1, 1),
        constraint=constraint,
        living=living,
        periodic=periodic,
    )
    assert finite.all()
    np.testing.assert_allclose(found.numpy(), after * mask[:, None], atol=1e-6)
    assert not found.numpy()[~np.broadcast_to(mask[:, None], found.shape)].any(), "empty cells are exactly zero"


def test_the_edge_of_a_grid_is_that_of_the_law():
    x = torch.full((1, 2, 4, 4), -1.0)
    x[0, 1, 0, 0] = -0.5
    living = Living(channel=1, above=-0.6)
    assert alive(living, x, periodic=False).sum() == 4, "nothing lives beyond the edge, also where 0 would"
    assert alive(living, x, periodic=True).sum() == 9


def test_the_unit_constraint_is_the_step_of_ley_m():
    torch.manual_seed(0)
    network = NCA(2, 8, perception="fixed", padding="zero", update_rate=1.0).requires_grad_(False)
    x = torch.randn(2, 4, 5, 5)
    phi = x + network(x)
    after, _, _ = step(network, "additive", x, torch.zeros(2, 1, 1, 1))
    assert torch.equal(after, constrain("unit", phi))
    assert torch.equal(constrain("none", phi), phi)


@pytest.mark.parametrize("constraint", ["none", Box(box=(0.0, 1.0))], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_before_the_constraint_hides_it(constraint, bad):
    y = torch.zeros(2, 4, 4, 4)
    y[1, 0, 2, 2] = bad
    for living in (None, Living(channel=3, above=2.0)):
        state, _, finite = step(
            Constant(y),
            "additive",
            torch.ones(2, 4, 4, 4),
            torch.zeros(2, 1, 1, 1),
            constraint=constraint,
            living=living,
        )
        assert finite.tolist() == [True, False]
        assert bool(state[0].all()) == (living is None)


def test_empty_cells_have_defined_values():
    """The left half of the grid is empty, before and after; the right half is turned by a phase, which is no change."""
    before = torch.zeros(4, 4, 4)
    before[:, :, 2:] = torch.tensor([0.3, 0.0, 0.0, 2.0])[:, None, None]
    after = torch.cat([-before[2:], before[:2]])  # times i
    state = StateView(after, before, before)
    assert state.field("activity").abs().max() < 1e-6, "an empty cell that stays empty does not move"
    assert state.field("coherence")[:, 0].tolist() == [1.0] * 4
    assert state.field("coherence")[1, 1] == pytest.approx(3 / 4), "and an empty neighbour of another is not like it"
    assert not state.field("channel_power")[:, :2].any()
    assert not state.field("channel_entropy")[:, :2].any()
    assert not state.field("phase")[:, :2].any()
    assert state.observable("overlap") == pytest.approx(1)
    psi = to_complex(torch.stack([before, after]))
    assert structure.pair_coherence(psi).tolist() == pytest.approx([20 / 24] * 2), "4 of 24 pairs cross the border"
    assert float(autocorrelation(psi, (1,))) == pytest.approx(1)


def test_start_states_of_a_box_and_a_seed():
    box = Box(box=(-0.5, 0.25))
    psi = initial_state(RandomState(), (32, 16), 2, seed=5, constraint=box)
    parts = np.stack([psi.real, psi.imag])
    assert -0.5 <= parts.min() < -0.49
    assert 0.24 < parts.max() <= 0.25
    assert parts.mean() == pytest.approx(-0.125, abs=0.02)
    assert np.array_equal(psi, initial_state(RandomState(), (32, 16), 2, seed=5, constraint=box))
    assert np.abs(initial_state(RandomState(), (8, 8), 1, seed=5, constraint="none")) == pytest.approx(
        np.ones((8, 8, 1))
    )
    grown = initial_state(Seed(), (5, 6), 8, seed=5)
    assert np.flatnonzero(np.abs(grown).sum(-1)).tolist() == [2 * 6 + 3], "one cell"
    assert grown[2, 3].tolist() == [1j, 1j, 1j, *[1 + 1j] * 5]
    assert initial_state(Seed(), (5, 6), 1, seed=5)[2, 3, 0] == 1 + 1j


@pytest.mark.parametrize(
    ("constraint", "fit"),
    [
        ("unit", ["complex_noise", "random", "zeros", "seed"]),
        ("none", ["complex_noise", "random", "zeros", "seed"]),
        ({"box": [0, 1]}, ["random", "zeros", "seed"]),
        ({"box": [-1, 1]}, ["complex_noise", "random", "zeros", "seed"]),
        ({"box": [0.5, 1]}, ["random"]),
    ],
)
def test_start_states_lie_in_the_box(constraint, fit):
    manifest = Manifest(**FIELDS, constraint=constraint)
    for start in (ComplexNoise(), RandomState(), Zeros(), Seed()):
        if start.kind in fit:
            check_start(manifest.constraint, start)
        else:
            with pytest.raises(
                ValueError, match=rf"initial.kind = '{start.kind}' has values from .* keeps its channels"
            ):
                check_start(manifest.constraint, start)
    check_start(manifest.constraint, manifest.default_start)


def test_a_manifest_keeps_them_and_its_digest_covers_them(tmp_path):
    plain = random_law(tmp_path / "plain", "NCA")
    digests = {plain.digest}
    said = json.loads((plain.path / "manifest.json").read_text())
    for more in (
        {"constraint": "none"},
        {"constraint": {"box": [0, 1]}},
        {"constraint": "none", "living": {"channel": 3, "above": 0.1}},
        {"constraint": "none", "living": {"channel": 2, "above": 0.1}},
    ):
        manifest = Manifest(**{**said, **more})
        assert Manifest.model_validate_json(manifest.model_dump_json(exclude_defaults=True)) == manifest
        digests.add(digest_of(manifest, plain.path / WEIGHTS))
    assert len(digests) == 5
    unit = Manifest(**{**said, "constraint": "unit", "living": None})
    assert digest_of(unit, plain.path / WEIGHTS) == plain.digest, "the default is not part of the digest"
    (plain.path / "manifest.json").write_text(json.dumps({k: v for k, v in said.items() if k not in more}))
    assert read_bundle(plain.path).digest == plain.digest, "nor need a manifest say it"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"constraint": "ball"}, 'constraint = "ball": it must be "unit", "none" or {"box": [low, high]}'),
        ({"constraint": {"box": [0, 1], "more": 1}}, "it must be"),
        ({"constraint": {"box": [1, 0]}}, "box = [1, 0]: low must be below high"),
        ({"constraint": {"box": [1, 1]}}, "low must be below high"),
        ({"constraint": {"box": [0, float("inf")]}}, "both must be finite"),
        ({"constraint": {"box": [0, float("nan")]}}, "low must be below high"),
        ({"constraint": {"box": [0]}}, "constraint"),
        ({"constraint": "none", "living": {"channel": 4, "above": 0}}, "= 4: the law has real channels 0 to 3"),
        ({"constraint": "none", "living": {"channel": -1, "above": 0}}, "living.channel"),
        ({"constraint": "none", "living": {"channel": 0, "above": float("nan")}}, "living.above"),
        ({"living": {"channel": 0, "above": 0}}, 'living needs a constraint other than "unit"'),
        ({"constraint": {"box": [1, 2]}, "living": {"channel": 0, "above": 0}}, "outside of constraint.box = [1.0"),
    ],
)  # fmt: skip
def test_a_refusal_names_key_value_and_bound(fields, message):
    with pytest.raises(ValidationError) as refused:
        Manifest(**FIELDS, **fields)
    assert message in str(refused.value).replace("\n", ".")
