"""The arm that passes the gate becomes the newest version, with its verdict and all that was tried; else nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from leym.cli.main import app
from leym.contract.fidelity_plan import Plan
from leym.engine.engine import Engine
from leym.laws import versions
from leym.laws.loading import load_weights
from leym.laws.registry import Registry
from leym.laws.verdicts import cheapest_passing, read_verdict
from leym.quantization.codes import own_codes
from leym.training.calibration.arms import Settings
from leym.training.calibration.candidates import search_codes, write
from tests.support.laws import random_law

# Margins as wide as few members need: what is tested is the choice, not the laws.
PLAN = Plan(
    grid=(8, 8),
    members=20,
    spin_up=20,
    steps=140,
    every=4,
    margin=0.4,
    deciding=("entropy", "activity"),
    pairs=4,
    paired_steps=4,
    damage=0.3,
    permutations=9,
)
FEW = Settings(grid=(8, 8), members=2, updates=2)


@pytest.fixture(scope="module")
def engine():
    running = Engine(32, compile=False)
    running.start()
    yield running
    running.stop()


def test_the_arm_that_passes_is_kept_with_verdict_seeds_and_every_judgement(engine, tmp_path):
    law = random_law(tmp_path / "deep", "DEEP_QCA", d=3, c=16, form="diagonal")
    lines: list[str] = []
    found = search_codes(law, ["absmax", "gptq"], PLAN, FEW, engine=engine, on_progress=lines.append)
    assert [one.stage for one in found.judged[:2]] == ["screen", "screen"]
    assert found.passed is not None, [one.verdict.reasons for one in found.judged]
    assert lines[-1] == f"{found.passed.arm}, 20 members: pass"
    kept = write(found, found.passed.arm, tmp_path / "made")
    said = kept.manifest.provenance["calibration"]
    assert said["source"] == law.digest
    assert said["seeds"] == [FEW.seed, FEW.seed + 1]
    assert [one["arm"] for one in said["candidates"]] == [one.arm for one in found.judged]
    assert said["judgements"] == found.judgements >= 1
    verdict = read_verdict(kept, "nf4")
    assert verdict is not None
    assert verdict.law["baseline_digest"] == law.digest
    assert cheapest_passing(kept) == "nf4"
    assert cheapest_passing(law, data=tmp_path / "data") == "fp32"
    assert own_codes(kept, "nf4").keys() == found.codes[found.passed.arm].keys()


def test_calibration_and_judgement_never_share_seeds(engine, tmp_path):
    law = random_law(tmp_path / "mlp", "MLP")
    with pytest.raises(ValueError, match="must not overlap"):
        search_codes(law, ["gptq"], PLAN, Settings(seed=PLAN.seed + 30), engine=engine)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    versions.add_copy(tmp_path / "data" / "laws", random_law(tmp_path / "drawn" / "mine", "MLP", c=8).path)
    return tmp_path / "data"


def test_the_command_writes_an_unjudged_law_as_the_newest_version(data):
    parent = Registry(data / "laws").resolve("mine")
    done = CliRunner().invoke(app, ["laws", "calibrate", "mine", "--no-judge", "--data", str(data)])
    assert done.exit_code == 0, done.output
    newest = Registry(data / "laws").resolve("mine")
    assert done.stdout.splitlines()[-1] == newest.ref != parent.ref
    assert newest.manifest.provenance["calibration"]["arm"] == "matched"
    assert own_codes(newest, "nf4")
    assert all(
        torch.equal(a, b) for a, b in zip(load_weights(parent).values(), load_weights(newest).values(), strict=True)
    )
    assert read_verdict(newest, "nf4", data=data) is None


def test_the_command_says_why_nothing_passes_and_keeps_the_best_only_when_asked(data):
    """Universes of this law freeze, so that no candidate can pass."""
    command = ["laws", "calibrate", "mine", "--arms", "gptq", "--members", "8", "--grid", "8", "8", "--data", str(data)]
    before = Registry(data / "laws").resolve("mine").ref
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    assert "nothing is written" in done.stdout.splitlines()[-1]
    assert Registry(data / "laws").resolve("mine").ref == before
    kept = CliRunner().invoke(app, [*command, "--keep-best", "--json"])
    assert kept.exit_code == 0, kept.output
    newest = Registry(data / "laws").resolve("mine")
    assert json.loads(kept.stdout)["kept"] == newest.ref
    verdict = read_verdict(newest, "nf4", data=data)
    assert verdict is not None
    assert verdict.verdict != "pass"


def test_wrong_usage_is_refused(data):
    for wrong in (["--arms", "magic"], ["--name", "no/name"], ["--seed", "1000000"], ["--steps", "7"]):
        done = CliRunner().invoke(app, ["laws", "calibrate", "mine", "--data", str(data), *wrong])
        assert done.exit_code == 2, wrong
