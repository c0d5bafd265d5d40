"""A refinement brings the stored law nearer to its fp32 parent, repeats bit for bit, and is judged by the parent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from leym.cli.main import app
from leym.contract.problems import Problem
from leym.laws import versions
from leym.laws.loading import load_weights
from leym.laws.registry import Registry
from leym.laws.verdicts import read_verdict
from leym.physics.initial import smooth
from leym.quantization.codes import decoded, own_codes
from leym.quantization.quantized_law import quantize_law
from leym.training.calibration.arms import Settings as Calibration
from leym.training.calibration.arms import calibrate
from leym.training.calibration.network import network_of, teacher
from leym.training.calibration.states import attractor
from leym.training.refinement import courses
from leym.training.refinement.refined import Candidate, write
from leym.training.refinement.training import Settings, refine
from tests.support.laws import growing_law, random_law, write_law

QUICK = Settings(grid=(8, 8), members=4, batch=2, updates=30, steps=4, lags=(2, 4))


def error(law, weights, seeds=range(7000, 7004)):
    """Relative error of four steps, on states that no update has seen."""
    parent, other = teacher(law), network_of(law, weights)
    states = attractor(law, parent, (8, 8), seeds=seeds, first=150, last=150)
    start = courses.aligned(law.manifest, parent, states, 0, 0.01)
    with torch.no_grad():
        wanted, found = (courses.follow(law.manifest, network, start, 4, 0.01, (4,)) for network in (parent, other))
        return float(courses.paths(found, wanted)["rollout"])


def test_a_refined_law_is_nearer_to_its_parent_than_calibrated_codes(tmp_path):
    law = random_law(tmp_path / "law", "NCA", c=16)
    before, after = (refine(law, settings=replace(QUICK, updates=n, rate=1e-3)) for n in (0, 40))
    assert error(law, after.decoded) < 0.7 * error(law, before.decoded)


def test_a_refinement_begins_with_the_codes_of_its_start(tmp_path):
    law = random_law(tmp_path / "law", "UNET")
    how = replace(QUICK, updates=0, start="matched")
    expected = calibrate(law, "matched", Calibration(how.grid, how.gamma, how.members, how.seed))
    refined = refine(law, settings=how)
    assert expected.keys() <= refined.codes.keys()
    for key, code in expected.items():
        assert torch.equal(decoded(refined.codes[key]), decoded(code)), key
    assert Candidate(law, "nf4", how, refined).provenance()["start"] == "matched"
    with pytest.raises(Problem, match="must be among"):
        refine(law, settings=replace(how, start="best"))


def test_distillation_alone_brings_a_small_law_nearer_and_says_how_far_it_is(tmp_path):
    law, seen = random_law(tmp_path / "law", "NCA", c=16), []
    short = replace(QUICK, updates=0, batch=4)
    before = refine(law, settings=short)
    after = refine(law, settings=replace(short, distil=150), on_update=lambda number, row: seen.append(number))
    assert error(law, after.decoded) < 0.5 * error(law, before.decoded)
    assert seen == list(range(1, 151))
    assert len(after.curve) == 150
    assert Candidate(law, "nf4", replace(short, distil=150), after).provenance()["distil"] == 150


def test_universes_begin_as_the_law_says(tmp_path):
    """A law that changes nothing stays at its start, whose numbers are drawn by the jobs' own function."""
    drawn, start = (
        random_law(tmp_path / "drawn", "MLP", d=1),
        {"kind": "smooth", "scale": 2.0, "re": [0, 1], "im": [0, 2]},
    )
    weights = {key: torch.zeros_like(weight).numpy() for key, weight in load_weights(drawn).items()}
    said = drawn.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form"})
    law = write_law(tmp_path / "still", weights, **said, constraint="none", start=start)
    states = attractor(law, teacher(law), (8, 8), gamma=0.0, seeds=range(3, 5), first=1, last=1)
    expected = np.stack([smooth((8, 8, 1), seed, 2.0, (0, 1), (0, 2)) for seed in (3, 4)])
    np.testing.assert_allclose(states.x[:, 0], expected[..., 0].real, atol=1e-6)
    np.testing.assert_allclose(states.x[:, 1], expected[..., 0].imag, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    law = random_law(tmp_path / "law", "MLP", c=8)
    one, two, other = (
        refine(law, settings=replace(QUICK, updates=5, seed=seed)) for seed in (QUICK.seed, QUICK.seed, 6_500_000)
    )
    made = [write(Candidate(law, "nf4", QUICK, r), tmp_path / str(i)) for i, r in enumerate((one, two, other))]
    assert one.curve == two.curve
    assert made[0].digest == made[1].digest != made[2].digest


def test_a_worker_decodes_the_trained_weights_and_fp32_stays_that_of_the_parent(tmp_path):
    law = random_law(tmp_path / "law", "UNET_UNITARY", form="diagonal")
    refined = refine(law, settings=replace(QUICK, updates=2))
    made = write(Candidate(law, "nf4", QUICK, refined), tmp_path / "made")
    for layer in quantize_law(made, load_weights(made), "nf4", torch.float32).layers:
        assert torch.equal(layer.encoded.decode(torch.float32), refined.decoded[layer.key]), layer.key
    parents = load_weights(law)
    assert all(torch.equal(weight, parents[key]) for key, weight in load_weights(made).items())
    assert made.manifest.provenance["refinement"]["source"] == law.digest


@pytest.mark.parametrize("architecture", ["UNET_CONVLSTM", "growing"])
def test_laws_with_memory_or_chance_and_a_living_mask_are_refined_too(tmp_path, architecture):
    growing = architecture == "growing"
    law = growing_law(tmp_path) if growing else random_law(tmp_path / "law", architecture)
    refined = refine(law, "int8" if growing else "nf4", replace(QUICK, updates=2))
    assert all(torch.isfinite(weight).all() for weight in refined.decoded.values())


def test_what_cannot_be_refined_is_refused(tmp_path):
    law = random_law(tmp_path / "mlp", "MLP")
    with pytest.raises(Problem, match="stores the weights as they are"):
        refine(law, "fp32", QUICK)
    for wrong in ({"rate": 2e-3}, {"lags": (5,)}, {"batch": 5}, {"distil_rate": 0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(QUICK, **wrong)


def test_statistics_of_a_law_against_itself_leave_no_loss(tmp_path):
    law = random_law(tmp_path / "law", "MLP")
    network = teacher(law)
    states = attractor(law, network, (8, 8), seeds=range(2), first=20, last=20)
    start = courses.aligned(law.manifest, network, states, 0, 0.01)
    course = courses.follow(law.manifest, network, start, 4, 0.01, (2, 4))
    parts = courses.paths(course, course) | courses.statistics(course.statistics, course.statistics)
    assert all(float(part) == 0 for part in parts.values())
    assert course.end.nudge.square().sum(1).mean((1, 2)).sqrt() == pytest.approx([courses.SIZE] * 2, rel=1e-4)


def test_the_overlap_ignores_a_phase_and_the_structure_factor_knows_its_shell():
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    re, im = x.chunk(2, 1)
    assert float(courses.overlap(x, torch.cat([-im, re], 1))) == pytest.approx(1)
    column = torch.arange(8) * (2 * torch.pi / 8)
    wave = torch.zeros(1, 2, 8, 8)
    wave[:, 0] = torch.cos(column)  # one wave length per side
    spectrum = courses.structure_factor(wave)
    assert int(spectrum.argmax()) == 1
    assert float(spectrum[2:].max()) < -20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    versions.add_copy(tmp_path / "data" / "laws", random_law(tmp_path / "drawn" / "mine", "MLP", c=8).path)
    return tmp_path / "data"


def test_the_command_writes_an_unjudged_law_as_the_newest_version(data):
    parent = Registry(data / "laws").resolve("mine")
    done = CliRunner().invoke(app, ["laws", "refine", "mine", "--no-judge", "--updates", "2", "--data", str(data)])
    assert done.exit_code == 0, done.output
    newest = Registry(data / "laws").resolve("mine")
    assert done.stdout.splitlines()[-1] == newest.ref != parent.ref
    assert newest.manifest.provenance["refinement"]["updates"] == 2
    assert own_codes(newest, "nf4")


def test_the_command_chooses_among_several_draws(data):
    options = ["--draws", "2", "--measured", "2", "--updates", "1", "--grid", "8", "8", "--steps", "200", "--no-judge"]
    done = CliRunner().invoke(app, ["laws", "refine", "mine", "--data", str(data), *options])
    assert done.exit_code == 0, done.output
    assert "draw 2 of 2" in done.stderr
    made = Registry(data / "laws").resolve("mine").manifest.provenance["refinement"]
    assert len(made["distances"]) == made["draws"] == made["measured"] == 2


def test_the_command_keeps_what_does_not_pass_only_when_asked_with_the_verdict_against_the_parent(data):
    """Universes of this law freeze, so that nothing can pass."""
    command = ["laws", "refine", "mine", "--updates", "1", "--members", "8", "--grid", "8", "8", "--data", str(data)]
    parent = Registry(data / "laws").resolve("mine")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    assert f"against fp32 of the parent {parent.ref}" in done.stdout
    assert Registry(data / "laws").resolve("mine").ref == parent.ref
    kept = CliRunner().invoke(app, [*command, "--keep", "--json"])
    assert kept.exit_code == 0, kept.output
    newest = Registry(data / "laws").resolve("mine")
    said = json.loads(kept.stdout)
    assert said["kept"] == newest.ref
    assert said["against"] == parent.ref
    verdict = read_verdict(newest, "nf4", data=data)
    assert verdict is not None
    assert verdict.law["baseline_digest"] == parent.digest


def test_wrong_usage_is_refused(data):
    for wrong in (
        ["--name", "no/name"],
        ["--seed", "1000000"],
        ["--rate", "0.1"],
        ["--precision", "int3"],
        ["--start", "best"],
    ):
        done = CliRunner().invoke(app, ["laws", "refine", "mine", "--data", str(data), *wrong])
        assert done.exit_code == 2, wrong
