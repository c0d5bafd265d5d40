"""Training learns, gives the same bits after any interruption, and refuses what cannot be trained."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from leym.laws.loading import load_weights
from leym.physics.step import step
from leym.training import checkpoint
from leym.training.trained_law import TrainedLaw, new_network
from leym.training.trainer import Diverged, Stopped, horizon, learning_rate, train
from tests.support.paths import ROOT
from tests.support.training import RECIPE, Turning, recipe


def trained(tmp_path: Path, **sections):
    return train(recipe(**sections), tmp_path)


def test_a_law_learns_the_step_of_its_teacher(tmp_path):
    law = trained(tmp_path, train={"updates": 250, "log_every": 1})
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert len(rows) == 250
    assert float(rows[0]["one_step"]) == pytest.approx(1, abs=1e-3), "a law that does nothing"
    assert np.mean([float(row["one_step"]) for row in rows[-20:]]) < 0.08
    network = new_network(law.manifest, 0, zero_head=True)
    network.load_state_dict(load_weights(law))
    x = Turning().start(4, (12, 12), seed=99)  # another grid, other universes
    with torch.no_grad():
        after = step(network, law.manifest.form, x, torch.zeros(1, 1, 1, 1))[0]
    wanted = Turning().advance(x)
    assert (after - wanted).square().mean() < 0.15 * (wanted - x).square().mean()
    assert law.manifest.provenance["recipe"]["objective"]["teacher"] == "turning"


def test_the_same_recipe_gives_the_same_law_and_another_seed_another(tmp_path):
    digests = [
        trained(tmp_path / name, train={"updates": 3, "seed": seed}).digest
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_random_numbers_of_the_process_change_nothing(tmp_path):
    found = []
    for number in range(2):
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002 - the global generator is the point
        found.append(trained(tmp_path / str(number), train={"updates": 2, "damage": 0.5}).digest)
    assert found[0] == found[1]


@pytest.mark.parametrize("stop_at", [1, 7, 12])
def test_a_training_that_was_stopped_and_resumed_ends_with_the_same_bits(stop_at, tmp_path):
    settings = recipe(train={"updates": 15, "damage": 0.3, "horizon": [1, 4]}, law={
        "options": {"padding": "periodic", "update_rate": 0.5}})  # fmt: skip
    whole = train(settings, tmp_path / "whole")
    seen: list[int] = []

    def on_update(number, values):
        seen.append(number)

    with pytest.raises(Stopped, match="--resume"):
        train(settings, tmp_path / "parts", on_update=on_update, should_stop=lambda: len(seen) == stop_at)
    resumed = train(settings, tmp_path / "parts", resume=True)
    assert resumed.digest == whole.digest
    for name in ("curve.csv", "law/weights.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_training_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(out: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "tests.support.training", str(file), str(tmp_path / out), *more]

    started = subprocess.Popen(command("killed"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    saved = tmp_path / "killed" / checkpoint.FILE
    while not saved.exists():
        assert started.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not (tmp_path / "killed" / "law").exists(), "killed in the middle"
    assert 0 < torch.load(saved, weights_only=True)["updates"] < 60
    found = [
        subprocess.run(
            command(*arguments), cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout
        for arguments in (("killed", "--resume"), ("whole",))
    ]
    assert found[0] == found[1]


def test_a_checkpoint_of_another_recipe_or_no_checkpoint_is_refused(tmp_path):
    trained(tmp_path, train={"updates": 2})
    with pytest.raises(ValueError, match="belongs to another recipe"):
        train(recipe(train={"updates": 3}), tmp_path, resume=True)
    (tmp_path / checkpoint.FILE).write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        train(recipe(train={"updates": 2}), tmp_path, resume=True)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Turning, "advance", lambda self, x: x * float("nan"))
    with pytest.raises(Diverged, match=r"update 1: loss = nan.*train.learning_rate"):
        trained(tmp_path, objective={"age": 0})


@pytest.mark.parametrize(
    ("section", "values", "match"),
    [
        ("law", {"d_state": 2}, "law.d_state = 2: teacher 'turning' has 1"),
        ("law", {"constraint": "none"}, "law.constraint = 'none': teacher 'turning' has 'unit'"),
        ("objective", {"teacher": "nobody"}, "teacher = 'nobody': expected one of"),
        ("objective", {"starts": "waves"}, "kind = 'waves': turning starts from noise"),
        ("objective", {"one_step": 0.0, "rollout": 0.0}, "one of them must be positive"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(section, values, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        trained(tmp_path, **{section: values})


@pytest.mark.parametrize("way", ["checkpoint_gradients", "single steps"])
def test_other_ways_learn_too(way, tmp_path):
    train_section = {"updates": 80, "log_every": 1, "checkpoint_gradients": way == "checkpoint_gradients"}
    objective = {"rollout": 0.0} if way == "single steps" else {}
    trained(tmp_path, train=train_section, objective=objective)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert float(rows[-1]["one_step"]) < 0.5 * float(rows[0]["one_step"])


def test_gradients_with_and_without_checkpointing_are_the_same():
    manifest = recipe().manifest()
    found = []
    for kept in (False, True):
        law = TrainedLaw(manifest, new_network(manifest, 3, False), torch.device("cpu"), checkpoint_gradients=kept)
        x = Turning().start(2, (6, 6), 1)
        for _ in range(3):
            x, _ = law.step(x, None, None)
        x[:, 0].sum().backward()
        found.append(torch.cat([weight.grad.flatten() for weight in law.parameters()]))
    assert torch.equal(found[0], found[1])


def test_bf16_products_keep_weights_and_states_in_float32_and_constants_exact():
    manifest = recipe().manifest()
    law = TrainedLaw(manifest, new_network(manifest, 3, False), torch.device("cpu"), bf16=True)
    perceived: list[torch.Tensor] = []
    law.network.net.register_forward_pre_hook(lambda _, inputs: perceived.append(inputs[0]))
    after, _ = law.step(Turning().start(2, (6, 6), 1), None, None)
    assert after.dtype == perceived[0].dtype == torch.float32
    after.sum().backward()
    assert {weight.grad.dtype for weight in law.parameters()} == {torch.float32}
    assert not any(key.startswith("perceive") for key, weight in law.network.named_parameters() if weight.requires_grad)


def test_the_learning_rate_rises_over_the_warm_up_and_falls_along_a_cosine():
    settings = recipe(train={"updates": 100, "warm_up": 9, "learning_rate": 1.0}).train
    rates = [learning_rate(settings, number) for number in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0.01 <= rates[-1] < 0.012
    constant = recipe(train={"updates": 100, "warm_up": 0, "learning_rate": 0.5, "schedule": "constant"}).train
    assert {learning_rate(constant, number) for number in range(100)} == {0.5}


def test_the_horizon_ramps_or_is_drawn():
    random = np.random.default_rng(0)
    ramp = recipe(train={"updates": 11, "horizon": [2, 12], "warm_up": 0}).train
    assert [horizon(ramp, number, random) for number in range(11)] == list(range(2, 13))
    drawn = recipe(train={"updates": 11, "horizon": [2, 4], "horizon_choice": "random", "warm_up": 0}).train
    assert {horizon(drawn, 0, random) for _ in range(50)} == {2, 3, 4}


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_step_has_the_same_values_and_gradients(bf16):
    manifest = recipe(law={"d_state": 2, "constraint": "none", "living": {"channel": 3, "above": 0.1}}).manifest()
    found = []
    for compiled in (False, True):
        network = new_network(manifest, 3, zero_head=False)
        law = TrainedLaw(manifest, network, torch.device("cpu"), bf16=bf16, compiled=compiled)
        x = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            x, _ = law.step(x, None, None)
        x.square().sum().backward()
        found.append([x.detach(), *(weight.grad for weight in law.parameters())])
    for plain, other in zip(*found, strict=True):
        assert (plain - other).abs().max() <= (2e-2 if bf16 else 1e-4) * plain.abs().max()
