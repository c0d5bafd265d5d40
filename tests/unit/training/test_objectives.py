"""Each objective computes its stated loss, its gradient trains, and settings that cannot work are refused."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from leym.physics.dynamics import autocorrelation
from leym.physics.step import to_complex
from leym.physics.structure import entropy_field
from leym.training.objective_settings import Band, TeacherSettings
from leym.training.objectives import atheria, statistics
from leym.training.objectives.base import Rollout
from leym.training.objectives.growth import GrowthObjective
from leym.training.objectives.registry import make_objective
from leym.training.objectives.teacher import TeacherObjective
from leym.training.pictures import DRAWN, picture
from leym.training.trained_law import TrainedLaw, new_network
from leym.training.trainer import train
from tests.support.training import Turning, recipe

NCA = {"architecture": "NCA", "d_state": 2, "hidden_channels": 16, "options": {"padding": "periodic"}}
GROWING = {
    **NCA,
    "d_state": 4,
    "constraint": "none",
    "living": {"channel": 3, "above": 0.1},
    "options": {"update_rate": 0.5},
}
CPU = torch.device("cpu")


def with_objective(law, objective, **train_section):
    found = recipe(law=law, train=train_section)
    plain = found.model_dump(exclude_defaults=True) | {"objective": objective}
    return type(found).model_validate(plain)


def unit_states(seed: int = 0, n: int = 3, d: int = 2) -> torch.Tensor:
    x = torch.randn(n, 2 * d, 8, 8, generator=torch.Generator().manual_seed(seed))
    return x / x.square().sum(1, keepdim=True).sqrt()


def losses_of(tmp_path, column: str = "loss") -> list[float]:
    return [float(row[column]) for row in csv.DictReader((tmp_path / "curve.csv").open())]


def test_the_loss_of_a_teacher_is_relative_to_its_change():
    manifest = recipe().manifest()
    settings = TeacherSettings(kind="teacher", teacher="turning", one_step=2.0, rollout=3.0, own=0.0)
    objective = TeacherObjective(settings, manifest, (8, 8))
    x = Turning().start(3, (8, 8), 5)
    law = TrainedLaw(manifest, new_network(manifest, 1, zero_head=False), CPU)
    rollout = Rollout.of(law, x, None, 3, np.random.default_rng(0))
    found = objective.judge(rollout)
    y, own = [x.double()], [state.detach().double() for state in rollout.states]
    for _ in range(3):
        y.append(Turning().advance(y[-1].float()).double())
    errors = [float(((own[t] - y[t]) ** 2).mean() / ((y[t] - y[0]) ** 2).mean()) for t in (1, 2, 3)]
    assert found.loss.item() == pytest.approx(2 * errors[0] + 3 * (errors[1] + errors[2]) / 2, rel=1e-4)
    assert torch.equal(found.keep, y[-1].float()), "own = 0: universes go on from the teacher's states"


def test_a_law_that_is_its_teacher_has_no_loss():
    objective = TeacherObjective(TeacherSettings(kind="teacher", teacher="turning"), recipe().manifest(), (8, 8))
    states = [Turning().start(2, (8, 8), 0)]
    for _ in range(3):
        states.append(Turning().advance(states[-1]))
    law = TrainedLaw(recipe().manifest(), new_network(recipe().manifest(), 0, True), CPU)
    assert float(objective.judge(Rollout(law, states, None, np.random.default_rng(0))).loss) == 0


def test_a_pool_begins_with_states_of_all_ages():
    objective = TeacherObjective(
        TeacherSettings(kind="teacher", teacher="turning", age=30), recipe().manifest(), (8, 8)
    )
    pool, fresh = objective.pool(12, 3), objective.starts(12, 3)
    overlap = [(a * b).sum(0).mean().item() for a, b in zip(pool, fresh, strict=True)]
    assert len({round(value, 3) for value in overlap}) > 6


def test_statistics_are_those_of_the_suite():
    x, y = unit_states(0), unit_states(0) + 0.2 * unit_states(1)
    series = torch.stack([to_complex(x), to_complex(y)], 1)
    activity = 1 - statistics.alignment(x, y).mean((1, 2))
    assert torch.allclose(activity, 1 - autocorrelation(series, (1,))[:, 0], atol=1e-5)
    assert torch.allclose(statistics.entropy(x), entropy_field(to_complex(x)).mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("period", [4, 8])
def test_the_correlation_length_of_a_wave_is_its_period_over_two_pi(period):
    phase = 2 * np.pi * np.arange(16) / period
    x = torch.tensor(np.stack([np.cos(phase), np.sin(phase)])).float()[None, :, None].expand(1, 2, 16, 16)
    assert float(statistics.correlation_length(x)) == pytest.approx(period / (2 * np.pi), rel=1e-4)


def test_a_band_counts_the_distance_to_its_nearer_end():
    band = Band(low=1.0, high=3.0, weight=4.0)
    assert statistics.distance_to(band, torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])).tolist() == [2, 0, 0, 0, 2]


def test_growth_of_a_difference_under_a_linear_law_is_the_log_of_its_factor():
    """y = 0.5 x without a constraint multiplies every difference by 1.5 per step."""
    law_section = {"architecture": "MLP", "d_state": 2, "hidden_channels": 4, "options": {}, "constraint": "none"}
    made = with_objective(law_section, {"kind": "statistics", "growth": {"low": 0.0, "high": 0.1}})
    law = TrainedLaw(made.manifest(), new_network(made.manifest(), 0, True), CPU)
    law.network.forward = lambda x: 0.5 * x
    objective = make_objective(made, made.manifest())
    found = objective.judge(Rollout.of(law, unit_states(), None, 4, np.random.default_rng(0)))
    assert float(found.parts["growth"]) == pytest.approx(np.log(1.5), rel=1e-3)


def test_statistics_come_closer_to_their_bands(tmp_path):
    bands = {"activity": {"low": 0.02, "high": 0.04}, "entropy": {"low": 0.2, "high": 0.5}}
    made = with_objective(
        NCA | {"head": "default"}, {"kind": "statistics", **bands}, updates=40, log_every=1, horizon=3
    )
    train(made, tmp_path)
    found = losses_of(tmp_path)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])


def test_atheria_losses_that_normalisation_makes_constant_are_constant_and_named():
    x, y = unit_states(0), unit_states(1)
    found = atheria.losses(x, y, dict.fromkeys(atheria.TERMS, 1.0))
    assert torch.allclose(found["survival"], torch.tensor(0.2), atol=1e-5)
    assert torch.allclose(found["mse_energy"], torch.tensor(0.0), atol=1e-9)
    psi = to_complex(y).numpy()
    spread = np.abs(psi).sum(-1).reshape(3, -1).std(1, ddof=1)
    assert torch.allclose(found["complexity"], torch.tensor(-np.log(spread + 1e-6)), atol=1e-5)
    turned = np.rot90(np.abs(psi), axes=(1, 2))
    assert np.allclose(found["symmetry"], ((np.abs(psi) - turned) ** 2).mean((1, 2, 3)), atol=1e-6)
    made = with_objective(NCA, {"kind": "atheria"})
    with pytest.warns(UserWarning, match="without effect: survival"):
        make_objective(made, made.manifest())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = with_objective(NCA | {"constraint": "none"}, {"kind": "atheria"})
        make_objective(made, made.manifest())


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_pictures_are_premultiplied_and_fill_their_square(name):
    found = picture(name, 24)
    assert found.shape == (4, 24, 24)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found[:3] <= found[3:] + 1e-6).all()
    assert 0.2 < found[3].mean() < 0.9
    assert found[3, 0].max() == 0, "a border stays free"


def test_a_png_file_is_a_picture(tmp_path):
    colours = np.zeros((10, 20, 4), np.uint8)
    colours[:, :10] = (255, 0, 0, 128)
    Image.fromarray(colours).save(tmp_path / "a.png")
    found = picture(str(tmp_path / "a.png"), 8)
    assert found.shape == (4, 8, 8)
    assert found[:, 4, 1] == pytest.approx([128 / 255, 0, 0, 128 / 255], abs=0.02)
    assert found[:, 0].max() == 0, "centred: half as high as wide"
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b.png"):
        picture(str(tmp_path / "b.png"), 8)


def test_a_growing_law_comes_closer_to_its_picture(tmp_path):
    made = with_objective(
        GROWING, {"kind": "growth", "picture": "ring", "size": 6}, updates=60, log_every=1, horizon=[6, 9],
        horizon_choice="random", damage=0.3, learning_rate=5e-3,
    )  # fmt: skip
    law = train(made, tmp_path)
    found = losses_of(tmp_path, "picture")
    assert np.mean(found[-5:]) < 0.9 * np.mean(found[:5])
    assert law.manifest.living is not None
    start = GrowthObjective(made.objective, law.manifest, (8, 8)).starts(2, 0)
    assert start.sum() == 2 * 5, "one cell of each universe has 1 in five of its eight real channels"


@pytest.mark.parametrize(
    ("law", "objective", "match"),
    [
        (NCA, {"kind": "growth", "size": 6}, "law.constraint = 'unit'"),
        (GROWING | {"d_state": 1, "living": None}, {"kind": "growth", "size": 6}, "law.d_state = 1: a picture needs"),
        (GROWING, {"kind": "growth", "size": 9}, "objective.size = 9: at most the shorter side of train.grid, 8"),
        (GROWING, {"kind": "growth", "size": 6, "picture": "cat"}, "objective.picture = 'cat'"),
        (NCA, {"kind": "statistics"}, "at least one band is needed"),
        (NCA, {"kind": "statistics", "activity": {"low": 2, "high": 1.0}}, "low = 2: at most high = 1"),
        (NCA | {"d_state": 1}, {"kind": "statistics", "entropy": {"low": 0.1, "high": 0.2}}, "entropy 0"),
        (GROWING, {"kind": "statistics", "growth": {"low": 0.1, "high": 0.2}}, "without a random update only"),
        (NCA, {"kind": "atheria", "survival": 1.0, "symmetry": 0.0, "complexity": 0.0}, "cannot change"),
    ],
)
def test_objectives_that_do_not_fit_are_refused(law, objective, match, tmp_path):
    with pytest.raises((ValueError, ValidationError), match=match):
        train(with_objective(law, objective), tmp_path)


@pytest.mark.parametrize("architecture", ["UNET_UNITARY", "UNET_CONVLSTM", "SNN_UNET", "MLP", "DEEP_QCA"])
def test_every_architecture_gets_gradients_in_all_its_layers(architecture, tmp_path):
    options = {"antialias": False} if architecture == "SNN_UNET" else {}
    law_section = {
        "architecture": architecture, "d_state": 2, "hidden_channels": 4, "options": options, "gain": 3.0,
        "head": "default",
    }  # fmt: skip
    made = with_objective(law_section, {"kind": "statistics", "activity": {"low": 0.5, "high": 0.6}})
    law = TrainedLaw(made.manifest(), new_network(made.manifest(), 0, False, 3.0), CPU)
    x = unit_states()
    rollout = Rollout.of(law, x, law.start_memory(3, (8, 8)), 3, np.random.default_rng(0))
    (rollout.last - unit_states(7)).square().mean().backward()
    without = [key for key, weight in law.network.named_parameters() if weight.requires_grad and not weight.grad.any()]
    assert without == []
