"""Which weights need more bits: the search finds the one that was spoilt, and what it keeps is a law like others."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from leym.engine.engine import Engine
from leym.laws.bundle import WEIGHTS
from leym.laws.registry import Registry
from leym.precision.derived import with_formats
from leym.precision.fidelity import frontier
from leym.precision.fidelity.plan import Plan
from leym.precision.fidelity.rescue import asleep, rescue
from leym.precision.fidelity.tune import keep
from leym.precision.fidelity.verdicts import cheapest_passing, read_verdict
from leym.problems import Problem
from tests.laws import random_law, write_law

SPOILT, OTHER = "processing_net.2.weight", "processing_net.0.weight"
PLAN = Plan(
    grid=(8, 8),
    members=16,
    spin_up=20,
    steps=120,
    every=10,
    deciding=("entropy", "activity"),
    margin=0.2,
    pairs=4,
    paired_steps=2,
    damage=0.0,
    permutations=19,
)


def spiky(folder):
    """A DEEP_QCA with one large weight in every block of 64: NF4 rounds what stands beside it to nothing."""
    drawn = random_law(folder / "drawn", "DEEP_QCA", d=3, c=64, seed=1)
    weights = load_file(drawn.path / WEIGHTS)
    blocks = weights[SPOILT].reshape(-1, 64).copy()
    blocks[:, 0] = 12 * np.abs(blocks).max()
    weights[SPOILT] = blocks.reshape(weights[SPOILT].shape)
    said = drawn.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form", "options"})
    return write_law(folder / "laws" / "spiky", weights, **said)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescue")
    engine = Engine(16, compile=False)
    engine.start()
    result = rescue(engine, spiky(folder), "nf4", PLAN, folder / "work")
    yield result
    engine.stop()


def test_the_spoilt_weight_is_found_and_raised_alone(found):
    first, second = found.sensitivities
    assert (first.key, first.format, second.key, second.format) == (SPOILT, "nf4", OTHER, "int8")
    assert first.score > PLAN.margin > second.score and first.error > 10 * second.error
    law, verdict = found.found
    assert law.manifest.policy["nf4"] == {SPOILT: "int8"} and verdict.verdict == "pass"
    assert law.digest != found.law.digest
    plain = {p: asleep(found.law, p).bytes_at_rest for p in ("nf4", "fp32")}
    assert plain["nf4"] < asleep(law, "nf4").bytes_at_rest < plain["fp32"]
    by_rung = {(t.rung, t.whole): t for t in found.tried}
    assert by_rung[0, False].verdict == "fail" and by_rung[1, True].verdict == "pass"
    assert by_rung[1, True].bytes_at_rest == asleep(law, "nf4").bytes_at_rest


def test_the_frontier_is_told_in_words_and_as_a_picture(found):
    text = frontier.text(found)
    assert re.search(rf"{SPOILT} +nf4 +\+", text) and re.search(r"^ +1 +\S+  pass  ", text, re.MULTILINE)
    page = frontier.page(found)
    assert page.count("<circle") == len(found.tried) and not re.search(r"https?://|<script|src=", page)


def test_what_is_kept_is_a_version_with_its_verdict(found, tmp_path, monkeypatch):
    monkeypatch.setattr("leym.precision.fidelity.tune.settings", lambda: type("S", (), {"data": tmp_path}))
    kept = keep(found, "spiky", "small")
    there = Registry(tmp_path / "laws").resolve("spiky")
    assert there.ref == kept.ref and there.manifest.policy["nf4"] == {SPOILT: "int8"}
    assert there.manifest.provenance["policy_of"]["source"] == found.law.digest
    verdict = read_verdict(there, "nf4", data=tmp_path)
    assert verdict.law["source"] == found.law.digest and verdict.metric("activity").outcome == "pass"
    assert cheapest_passing(there, data=tmp_path) == "nf4"
    assert cheapest_passing(found.law, data=tmp_path) == "fp32"


def test_when_nothing_passes_it_says_so(tmp_path):
    engine = Engine(16, compile=False)
    engine.start()
    law = spiky(tmp_path)
    nothing = rescue(engine, law, "nf4", PLAN.with_(margin=1e-9), tmp_path / "work")
    engine.stop()
    assert nothing.found is None and nothing.tried[-1].rung == 3
    assert {t.verdict for t in nothing.tried} <= {"fail", "inconclusive"}
    assert "No rung passes" in frontier.page(nothing)


@pytest.mark.parametrize(
    ("formats", "says"),
    [
        ({"backbone": "nf3"}, "'nf3'"),
        ({"spine": "nf4"}, "'spine' is no role"),
        ({"processing_net.9": "int8"}, "begins no weight's key"),
    ],
)
def test_formats_that_mean_nothing_are_refused(tmp_path, formats, says):
    with pytest.raises(Problem, match=says):
        with_formats(spiky(tmp_path), "nf4", formats, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_command_line_quantises_and_tunes(tmp_path):
    law = spiky(tmp_path)
    env = os.environ | {"LEYM_DATA": str(tmp_path), "LEYM_COMPILE": "0"}

    def leym(*arguments):
        command = [sys.executable, "-m", "leym.cli", "laws", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)

    done = leym("quantize", "spiky", "--set", "backbone=int8", "encoder=fp32", "--name", "firm", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {layer["key"]: layer["format"] for layer in said["layers"]} | {SPOILT: "int8", OTHER: "fp32"} == {
        layer["key"]: layer["format"] for layer in said["layers"]
    }
    firm = Registry(tmp_path / "laws").resolve("firm")
    assert said["kept"] == firm.ref and firm.manifest.policy["nf4"] == {"backbone": "int8", "encoder": "fp32"}
    assert "spine" in leym("quantize", "spiky", "--set", "spine=int8").stderr
    assert leym("tune-precision", "nowhere").returncode == 1

    report = tmp_path / "frontier.html"
    few = ("--members", "16", "--grid", "8", "8", "--steps", "150")
    tuned = leym("tune-precision", "spiky", *few, "--name", "sound", "--report", str(report), "--json")
    assert tuned.returncode in (0, 1), tuned.stderr  # what the small plan says of so few members is not the point
    told = json.loads(tuned.stdout)
    assert told["law"] == law.ref and told["sensitivities"][0]["key"] == SPOILT
    names = {bundle.name for bundle in Registry(tmp_path / "laws").bundles()}
    assert ("sound" in names) == (tuned.returncode == 0) == (told["kept"] is not None)
    assert report.read_text().startswith("<!doctype html>")


def test_a_rung_is_what_the_tried_say(found):
    assert [dataclasses.asdict(t)["raised"] for t in found.tried if t.rung == 1] == [{SPOILT: "int8"}] * 2
