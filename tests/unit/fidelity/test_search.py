"""More bits for the weights that need them: the right one is found, what is kept is what passed, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from leym.cli.local.tune_precision import app as tune
from leym.cli.main import app
from leym.contract.fidelity_plan import PLANS, Plan
from leym.engine.engine import Engine
from leym.fidelity import search_report
from leym.fidelity.search import SearchResult, keep, search_precision
from leym.laws.bundle import WEIGHTS, read_bundle
from leym.laws.loading import load_weights
from leym.laws.registry import Registry
from leym.laws.verdicts import cheapest_passing, read_verdict
from leym.quantization.int8 import Int8
from leym.quantization.nf4 import NF4
from leym.quantization.policy import formats_of
from leym.quantization.quantized_law import quantize_law
from tests.support.laws import random_law, write_law

# Margins as wide as few members need: what is tested is the search, not the laws.
PLAN = Plan(
    grid=(8, 8),
    members=20,
    spin_up=20,
    steps=140,
    every=4,
    margin=0.4,
    deciding=("entropy", "activity", "lyapunov"),
    pairs=4,
    paired_steps=4,
    rounds=12,
    settle=4,
    round_steps=2,
    damage=0.3,
    permutations=9,
)
FIRST, SECOND, HEAD = "processing_net.0.weight", "processing_net.2.weight", "processing_net.4.weight"


def through_nf4(weight):
    return NF4.encode(torch.from_numpy(weight)).decode(torch.float32).contiguous().numpy()


def one_weak_spot(folder):
    """A chaotic law that NF4 changes in its second layer only, and int8 nowhere.

    First layer and head are exact in NF4. The second layer has an outlier in every block of 64, in the column of a
    hidden unit that is always 0, so that they do nothing but take away the other weights' bits; int8 has enough of
    them left to be exact.
    """
    law = random_law(folder / "drawn", "DEEP_QCA", d=3, c=16, form="diagonal")
    weights = load_file(law.path / WEIGHTS)
    weights[FIRST][0], weights["processing_net.0.bias"][0] = 0, 0
    weights[FIRST], weights[HEAD] = through_nf4(weights[FIRST]), through_nf4(weights[HEAD])
    weights[SECOND][:, 0] = 16 * np.abs(weights[SECOND]).max(axis=(1, 2, 3))[:, None, None]
    weights[SECOND] = Int8.encode(torch.from_numpy(weights[SECOND])).decode(torch.float32).numpy()
    said = law.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form", "options"})
    return write_law(folder / "weak", weights, **said, policy={"nf4": {"encoder": "nf4", "head": "nf4"}})


@pytest.fixture(scope="module")
def engine():
    running = Engine(32, compile=False)
    # fp32 operands on every machine: a device that rounds products to bf16 would add an effect of its own
    running.device = running.law_cache.device = dataclasses.replace(running.device, operands=torch.float32)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    return one_weak_spot(tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module")
def found(engine, law) -> SearchResult:
    return search_precision(law, "nf4", PLAN, engine=engine)


@pytest.mark.slow
def test_the_weak_weight_is_the_most_sensitive_one(found):
    weak, *strong = found.sensitivities
    assert weak.weight.key == SECOND
    assert len(strong) == 2
    assert weak.weight.score == weak.stability.deviation + weak.stability.drift > 0.3
    assert weak.weight.error > 0.1
    for other in strong:  # exact in NF4: the same bits at every step
        assert other.weight.score == other.weight.error == 0


@pytest.mark.slow
def test_the_smallest_rung_that_passes_raises_it_alone(found, law):
    assert found.passed is not None
    assert not found.why_not
    verdict, formats = found.passed
    assert verdict.verdict == "pass"
    assert formats == {FIRST: "nf4", SECOND: "int8", HEAD: "nf4"}
    by_rung = {(t.rung, t.stage): t for t in found.candidates}
    assert by_rung[0, "screen"].verdict == "fail"
    assert by_rung[0, "screen"].raised == {}
    passed = by_rung[1, "gate"]
    assert passed.raised == {SECOND: "int8"}
    assert passed.verdict == "pass"
    assert passed.members == 20
    assert passed.activity[0] == 0
    assert passed.activity[1] < 0 < passed.activity[2]
    assert abs(by_rung[0, "screen"].activity[0]) > PLAN.margin
    assert found.judgements == 1


@pytest.mark.slow
def test_what_is_kept_is_a_version_that_auto_takes(found, law, tmp_path):
    kept = keep(found, tmp_path)
    assert kept.name == law.name
    assert kept.digest != law.digest
    assert kept.path.is_relative_to(tmp_path / "laws")
    assert not (kept.path / WEIGHTS).is_symlink()
    assert (kept.path / WEIGHTS).read_bytes() == (law.path / WEIGHTS).read_bytes()
    assert kept.manifest.policy == {"nf4": {"encoder": "nf4", "head": "nf4", SECOND: "int8"}}
    said = kept.manifest.provenance["tune_precision"]
    assert said["source"] == law.digest
    assert said["plan"]["members"] == 20
    assert said["judgements"] == 1
    assert said["date"]
    weights = load_weights(kept)
    sizes = [
        quantize_law(x, weights, precision, torch.float32).bytes_at_rest
        for x, precision in ((law, "nf4"), (kept, "nf4"), (law, "int8"), (law, "fp32"))
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4
    assert sizes[1] == next(t for t in found.candidates if t.stage == "gate").bytes_at_rest
    assert sizes[3] == found.bytes_fp32
    verdict = read_verdict(kept, "nf4", data=tmp_path)
    assert verdict is not None
    assert verdict.verdict == "pass"
    assert verdict.law["baseline_digest"] == law.digest
    assert cheapest_passing(kept, data=tmp_path) == "nf4"
    assert cheapest_passing(law, data=tmp_path) == "fp32"
    other = keep(found, tmp_path, "another")
    assert other.name == "another"
    assert cheapest_passing(other, data=tmp_path) == "nf4"
    newest = Registry(tmp_path / "laws").bundles()
    assert {b.name for b in newest} == {law.name, "another"}


@pytest.mark.slow
def test_a_law_that_passes_as_it_is_gets_the_verdict_itself(found, law, tmp_path):
    assert found.passed is not None
    verdict = dataclasses.replace(found.passed[0], law={"name": law.name, "digest": law.digest})
    unraised = dataclasses.replace(found, law=read_bundle(shutil.copytree(law.path, tmp_path / "weak")))
    unraised.passed = verdict, formats_of(law, "nf4")
    kept = keep(unraised, tmp_path / "data", "another")
    assert kept == unraised.law
    assert not (tmp_path / "data").exists()
    assert cheapest_passing(kept, data=tmp_path / "data") == "nf4"


@pytest.mark.slow
def test_the_frontier_is_shown_as_text_json_and_page(found):
    shown = search_report.text(found)
    assert shown.count(SECOND) == 1 + len({t.raised[SECOND] for t in found.candidates if t.raised})
    assert f"rung 1 passes, {found.candidates[-1].bytes_at_rest:,} B at rest, 1 of 3 weights raised" in shown
    said = json.loads(json.dumps(search_report.as_json(found), allow_nan=False))
    assert len(said["candidates"]) == len(found.candidates)
    assert said["passed"]
    assert said["judgements"] == 1
    assert said["screenings"] == len(found.candidates) - 1
    assert f"{len(found.candidates)} candidates judged: " in shown
    page = search_report.html(found)
    assert page.count("<circle") == 2 * len(found.candidates)
    assert page.count("<svg") == page.count("</svg>") == 2
    assert not re.search(r"https?://|src=|<script|<link|url\(", page)
    none = search_report.text(dataclasses.replace(found, passed=None))
    assert "no candidate passes, the last rung (6) included" in none
    broken = dataclasses.replace(found.candidates[0], activity=(float("nan"),) * 3)
    page = search_report.html(dataclasses.replace(found, candidates=[broken, *found.candidates[1:]]))
    assert "nan" not in "".join(re.findall(r'c[xy]="[^"]*"|y[12]="[^"]*"', page))
    assert json.dumps(search_report.as_json(dataclasses.replace(found, candidates=[broken])), allow_nan=False)


@pytest.fixture
def data(tmp_path):
    random_law(tmp_path / "laws" / "some", "NCA", d=2, c=8)  # a fixed point
    return tmp_path


def files(data):
    return sorted(str(p) for p in data.rglob("*"))


def test_when_nothing_can_pass_nothing_is_written(data, monkeypatch, capsys):
    before = files(data)
    plan = PLAN.with_(members=4, steps=64, rounds=5, every=8, spin_up=16)
    monkeypatch.setitem(PLANS, "small", plan)
    monkeypatch.setenv("LEYM_COMPILE", "0")
    report = data.parent / f"{data.name}.html"
    arguments = ["some", "--plan", "small", "--members", "4", "--data", str(data), "--report", str(report), "--json"]
    with pytest.raises(SystemExit) as ended:
        tune(arguments)
    assert ended.value.code == 1
    assert files(data) == before
    said = json.loads(capsys.readouterr().out)
    assert said["kept"] is None
    assert not said["passed"]
    assert "not alive" in said["reasons"][0]
    assert "no candidate could pass with 4 members" in report.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there is no law 'nothing'; known:"),
        (["some", "--members", "3"], "Invalid value for '--members': '3': expected a whole number from 4"),
        (["some", "--name", "a b"], "name = 'a b'"),
        (["some", "--precision", "bf16"], "'bf16' is not one of 'nf4', 'int8'"),
        (["some", "--report", "/nowhere/x.html"], "there is no folder '/nowhere'"),
    ],
)
def test_tuning_refuses(data, arguments, words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # or the message is wrapped
    with pytest.raises(SystemExit) as ended:
        tune([*arguments, "--data", str(data)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_tuning_is_a_command_of_its_own(data, monkeypatch):
    asked = []
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("leym.cli.local.tune_precision.search_precision", lambda *given, **_: asked.append(given))
    command = ["laws", "tune-precision", "some", "--members", "64"]
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert "leym laws tune-precision [OPTIONS] {law}" in done.stdout
    assert not asked
    CliRunner().invoke(app, [*command, "--data", str(data)])
    [(law, precision, plan)] = asked
    assert (law.name, precision, plan.members) == ("some", "nf4", 64)
