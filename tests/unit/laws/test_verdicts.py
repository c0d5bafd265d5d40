"""Verdicts are stored as files, decide what "auto" means, and are returned by the API."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from leym.contract.fidelity_plan import PLANS, Plan
from leym.laws.verdicts import from_json, read_head, read_verdict, resolve_precision, write_verdict
from leym.settings import Settings
from tests.support.laws import random_law
from tests.support.verdicts import a_verdict

METRICS = ("sharp", 0.9, 40), ("blunt", 0.4, 170)  # name, power, members needed


@pytest.fixture
def law(tmp_path):
    return random_law(tmp_path / "laws" / "some", "MLP")


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


def test_a_head_has_no_samples_and_follows_its_file(law):
    assert read_head(law, "nf4") is None
    for outcome in ("inconclusive", "pass", "fail", "pass"):  # written within a tick of the clock
        write_verdict(law, replace(a_verdict(law, "nf4", outcome), samples={"baseline": {"activity": [1.0]}}))
        head, whole = read_head(law, "nf4"), read_verdict(law, "nf4")
        assert whole.samples == {"baseline": {"activity": [1.0]}}
        assert replace(whole, samples={}, curves={}).to_json() == head.to_json()
        assert head.verdict == outcome
    (law.path / "fidelity" / "nf4.json").unlink()
    assert read_head(law, "nf4") is None


def test_a_verdict_tells_its_power_and_regime_and_earlier_ones_open_without(law):
    known = a_verdict(law)
    sharp, blunt = (replace(known.metrics[0], name=n, power=p, members_needed=m) for n, p, m in METRICS)
    aside = replace(blunt, name="aside", deciding=False, power=0.0)
    regime = {"label": "chaotic", "evidence": {"activity": 0.1, "recurrence": float("nan")}}
    found = replace(known, metrics=[sharp, blunt, aside], regime=regime)
    assert (found.power, found.members_needed) == (0.4, 170)
    stored = json.loads(found.to_json())
    assert (stored["power"], stored["members_needed"]) == (0.4, 170)
    assert stored["regime"]["evidence"] == {"activity": 0.1, "recurrence": None}
    again = from_json(found.to_json())
    assert again.regime["label"] == "chaotic"
    assert math.isnan(again.regime["evidence"]["recurrence"])
    assert again.to_json() == found.to_json()
    for new in ("power", "members_needed", "regime"):
        del stored[new]
    earlier = from_json(json.dumps(stored))
    assert (earlier.power, earlier.members_needed, earlier.regime) == (0.4, 170, {})
    none = replace(known, metrics=[])
    assert math.isnan(none.power)
    assert json.loads(none.to_json())["power"] is None


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
    random_law(tmp_path / "laws" / "other", "MLP")
    http = create_app(Settings(data=tmp_path)).test_client()
    [item] = http.get("/v1/laws/some/fidelity").json["items"]
    assert item["precision"] == "nf4"
    assert item["verdict"] == "pass"
    assert item["metrics"]["activity"]["high"] == 0.03
    assert (item["power"], item["members_needed"], item["regime"]) == (0.9, 40, None)
    assert http.get("/v1/laws/other/fidelity").json["items"] == []
    assert http.get("/v1/laws/nothing/fidelity").status_code == 404


# What a file looked like when the metric `pair_coherence` was called `coherence`.
OLD = """{
 "verdict": "fail",
 "reasons": ["coherence: fail: effect +20.0% [+18.0%, +22.0%], margin 5%"],
 "law": {"name": "some", "digest": "DIGEST"},
 "precision": "nf4",
 "plan": {"members": 4, "margin": 0.05, "alpha": 0.05, "every": 10, "deciding": ["entropy", "coherence"]},
 "seeds": {"baseline": [0, 3]},
 "metrics": [
  {"name": "coherence", "what": "M2 overlap of 4-neighbours", "deciding": true, "outcome": "fail", "effect": 0.2,
   "low": 0.18, "high": 0.22, "p": 1.0, "p_beyond": 1e-9, "scale": 0.4, "baseline_mean": 0.5, "baseline_sd": 0.01,
   "candidate_mean": 0.58, "candidate_sd": 0.01, "wasserstein_ratio": 9.0, "ks_p": 1e-6, "spread": 0.02, "power": 0.9,
   "members_needed": 3, "control": [0.001, -0.01, 0.01]}
 ],
 "spectrum": [0.0, 0.0, 0.0], "paired": {}, "long_range": [0.0, null, 0.0], "energy": [0.1, 0.001],
 "flags": {}, "curves": {"baseline": [1.0, 0.5]}, "engine": {}, "versions": {"torch": "2.11.0"},
 "controls": {
  "zeroed": {"must": "fail", "outcome": "inconclusive", "reasons": ["coherence: inconclusive: effect +4.0%"]}
 },
 "samples": {"baseline": {"coherence": [0.5, 0.49, 0.51, 0.5]}, "candidate": {"coherence": [0.58, 0.57, 0.59, 0.58]}},
 "created": "2025-11-01T00:00:00+00:00", "seconds": 12.0, "format": 1
}"""


def test_a_verdict_that_names_the_metric_coherence_is_read_and_shown(law, tmp_path):
    from app import create_app

    path = law.path / "fidelity" / "nf4.json"
    path.parent.mkdir()
    stored = OLD.replace("DIGEST", law.digest)
    path.write_text(stored)
    assert read_verdict(law, "nf4", as_stored=True).metric("pair_coherence").name == "coherence"
    found = read_verdict(law, "nf4")
    assert found.verdict == "fail"
    assert [row.name for row in found.metrics] == ["pair_coherence"]
    assert found.metric("coherence") == found.metric("pair_coherence")
    assert found.metric("coherence").effect == 0.2
    assert found.plan["deciding"] == ["entropy", "pair_coherence"]
    assert found.samples["candidate"] == {"pair_coherence": [0.58, 0.57, 0.59, 0.58]}
    assert found.reasons == ["pair_coherence: fail: effect +20.0% [+18.0%, +22.0%], margin 5%"]
    assert found.controls["zeroed"]["reasons"] == ["pair_coherence: inconclusive: effect +4.0%"]
    assert from_json(found.to_json()).to_json() == found.to_json(), "renaming twice changes nothing"

    http = create_app(Settings(data=tmp_path)).test_client()
    [item] = http.get("/v1/laws/some/fidelity").json["items"]
    assert item["metrics"]["coherence"]["low"] == 0.18, "the JSON keeps the names of the file"
    assert http.get("/v1/laws/some/fidelity/nf4").json == json.loads(from_json(stored, as_stored=True).to_json())
    assert http.get("/v1/laws/some/fidelity/nf4").json["metrics"][0]["name"] == "coherence"
    page = http.get("/v1/laws/some/fidelity/nf4?format=html").text
    assert "pair_coherence" in page
    assert ">coherence<" not in page


def test_a_plan_that_names_the_metric_coherence_means_pair_coherence():
    assert Plan(deciding=("entropy", "coherence")).deciding == ("entropy", "pair_coherence")
    assert "pair_coherence" in PLANS["small"].deciding
    assert "coherence" not in PLANS["small"].deciding
