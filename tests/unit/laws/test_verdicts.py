"""Verdicts are stored as files, decide what "auto" means, and are returned by the API."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from leym.contract.fidelity_plan import PLANS
from leym.laws.verdicts import MetricVerdict, Verdict, from_json, read_verdict, resolve_precision, write_verdict
from leym.settings import Settings
from tests.support.laws import random_law


@pytest.fixture
def law(tmp_path):
    return random_law(tmp_path / "laws" / "some", "MLP")


def a_verdict(law, precision="nf4", outcome="pass", created="2026-01-01T00:00:00+00:00"):
    row = MetricVerdict(
        "activity", "M9", True, "pass", 0.01, -0.01, 0.03, 0.001, 1.0, 0.1, 0.2, 0.01, 0.2, 0.01, 1.0, 0.5, 0.1, 0.9,
        40, (0.0, -0.01, 0.01),
    )  # fmt: skip
    return Verdict(
        verdict=outcome, reasons=[], law={"name": law.name, "digest": law.digest}, precision=precision,
        plan={"members": PLANS["small"].members}, seeds={"baseline": (0, 63)}, metrics=[row], spectrum=(0.0, 0.0, 0.0),
        paired={}, long_range=(0.0, float("nan"), 0.0), energy=(0.0, 1.0), flags={}, controls={}, curves={}, engine={},
        versions={}, created=created, seconds=1.0,
    )  # fmt: skip


def test_a_verdict_is_read_back_unchanged_and_auto_takes_the_cheapest_pass(law):
    assert resolve_precision(law, "auto") == "fp32"
    write_verdict(law, a_verdict(law, "int8"))
    assert resolve_precision(law, "auto") == "int8"
    write_verdict(law, a_verdict(law, "nf4", "inconclusive"))
    assert resolve_precision(law, "auto") == "int8", "an inconclusive verdict is not a pass"
    write_verdict(law, a_verdict(law, "nf4"))
    assert resolve_precision(law, "auto") == "nf4"
    assert resolve_precision(law, "bf16") == "bf16"
    found = read_verdict(law, "nf4")
    assert found.metric("activity") == a_verdict(law).metric("activity")
    assert found.long_range[1] != found.long_range[1], "what is not finite stays so"


def test_a_verdict_on_other_weights_or_a_damaged_one_is_ignored(law, tmp_path, caplog):
    path = write_verdict(law, a_verdict(law))
    path.write_text(path.read_text().replace(law.digest, "0" * 64))
    assert resolve_precision(law, "auto") == "fp32"
    path.write_text(path.read_text()[:100])
    assert resolve_precision(law, "auto") == "fp32"
    assert "ignored" in caplog.text
    with pytest.raises(ValueError, match="not a verdict"):
        from_json(json.dumps({"format": 1}))


def test_the_newest_verdict_counts(law, tmp_path):
    write_verdict(law, a_verdict(law))
    elsewhere = replace(law, path=tmp_path / "a file")
    elsewhere.path.write_text("")  # no folder can be made below it
    write_verdict(
        elsewhere, a_verdict(law, outcome="fail", created="2026-02-01T00:00:00+00:00"), data=tmp_path / "data"
    )
    assert read_verdict(law, "nf4", data=tmp_path / "data").verdict == "fail"


def test_the_api_returns_the_verdicts(law, tmp_path):
    from app import create_app

    write_verdict(law, a_verdict(law))
    http = create_app(Settings(data=tmp_path)).test_client()
    [item] = http.get("/v1/laws/some/fidelity").json["items"]
    assert item["precision"] == "nf4"
    assert item["verdict"] == "pass"
    assert item["metrics"]["activity"]["high"] == 0.03
    assert http.get("/v1/laws/aurora/fidelity").json["items"] == []
    assert http.get("/v1/laws/nothing/fidelity").status_code == 404
