"""The gate as a whole: what must pass passes, what must fail fails, and a verdict is kept and found again."""

from __future__ import annotations

import dataclasses
import re
from math import log

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.baselines import sized_by_pilot
from leym.fidelity.controls import in_two_bits, zeroed
from leym.fidelity.decision import compare, not_below
from leym.fidelity.ensemble import Subject, Trajectories, evolve
from leym.fidelity.gate import conclude, judge
from leym.fidelity.measurement import measure_all, run_and_measure, scales_of
from leym.fidelity.paired import compare_pairs, long_range, lyapunov, state_fidelity
from leym.fidelity.stats import members_needed
from leym.laws.bundle import WEIGHTS
from leym.laws.loading import empty_network, load_weights
from leym.laws.verdicts import cheapest_passing, from_json, read_verdict, write_verdict
from leym.physics.step import step
from leym.reports.verdict import report
from tests.support.laws import lively_law, random_law, write_law
from tests.support.plans import TINY

PLAN = PLANS["small"].with_(grid=(16, 16), members=32, pilot=0, steps=500, rounds=20, round_steps=2)


@pytest.fixture(scope="module")
def engine():
    running = Engine(32, compile=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    return lively_law(tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module")
def ensembles(engine, law):
    """Two baselines, their frames, and the scales that the second one fixes."""
    other, other_frames = run_and_measure(engine, Subject(law, "fp32"), PLAN.reference_seeds, PLAN)
    b, b_frames = run_and_measure(engine, Subject(law, "fp32"), PLAN.seeds, PLAN)
    return b, b_frames, other, other_frames, scales_of(other, other_frames, wrap=False)


@pytest.fixture(scope="module")
def verdict(engine, law):
    return judge(law, "nf4", TINY, engine=engine)


@pytest.mark.slow
def test_the_law_passes_against_itself(ensembles):
    b, b_frames, other, other_frames, scales = ensembles
    decision = compare(PLAN, scales, b, other, b)
    assert decision.outcome == "pass", decision.reasons
    assert not decision.reasons
    assert not b.flags
    assert not_below(*long_range(b_frames, b_frames), PLAN)[0] == "pass"
    assert not_below(*long_range(b_frames, other_frames), PLAN)[0] == "pass"


@pytest.mark.slow
def test_zeroed_weights_fail(engine, law, ensembles, tmp_path):
    b, _, other, _, scales = ensembles
    hurt = zeroed(law, 0.1, tmp_path / "zeroed")
    before, after = load_weights(law), load_weights(hurt)
    lost = sum(int(((after[k] == 0) & (before[k] != 0)).sum()) for k in before)
    assert 0.08 < lost / sum(int((w != 0).sum()) for w in before.values()) < 0.12
    q, _ = run_and_measure(engine, Subject(hurt, "fp32"), PLAN.seeds, PLAN)
    decision = compare(PLAN, scales, b, q, other)
    assert decision.outcome == "fail", decision.reasons
    assert decision.outcomes["activity"] == "fail", decision.reasons


@pytest.mark.slow
def test_another_gamma_fails(engine, law, ensembles):
    b, _, other, _, scales = ensembles
    q, _ = run_and_measure(engine, Subject(law, "fp32", gamma=0.3), PLAN.seeds, PLAN)
    decision = compare(PLAN, scales, b, q, other)
    assert decision.outcome == "fail", decision.reasons
    assert decision.outcomes["activity"] == "fail", decision.reasons
    for name in ("entropy", "pair_coherence", "wavenumber"):  # the textures alone would not have told
        assert decision.outcomes[name] == "pass"


@pytest.mark.slow
def test_a_universe_that_keeps_its_textures_and_nearly_stops_fails(ensembles):
    """The worked case of the method: every static metric is within 5 %, activity is cut by 86 %."""
    b, _, other, frames, scales = ensembles
    slow = torch.arange(0, PLAN.frames) // 7
    stopped = dataclasses.replace(frames, psi=frames.psi[:, slow], activity=0.14 * frames.activity[:, slow])
    q = measure_all(stopped, wrap=False)
    q.values["lyapunov"] = other.values["lyapunov"]
    static = tuple(name for name in PLAN.deciding if name not in ("activity", "memory_short", "lyapunov"))
    assert compare(PLAN.with_(deciding=static), scales, b, q, other).outcome == "pass"
    decision = compare(PLAN, scales, b, q, other)
    assert decision.outcome == "fail"
    assert decision.outcomes["activity"] == "fail"
    assert decision.intervals["activity"].effect == pytest.approx(-0.86, abs=0.02)


@pytest.mark.slow
def test_a_new_flag_fails_and_a_dead_baseline_tells_nothing(ensembles):
    b, _, other, _, scales = ensembles
    flagged = dataclasses.replace(other, flags={"nan": 1})
    decision = compare(PLAN, scales, b, flagged)
    assert decision.outcome == "fail"
    assert "nan" in decision.reasons[0]
    dead = {"frozen": b.members}
    decision = compare(PLAN, scales, dataclasses.replace(b, flags=dead), dataclasses.replace(other, flags=dead))
    assert decision.outcome == "inconclusive"
    assert "not alive" in decision.reasons[-1]


@pytest.mark.slow
def test_too_few_members_are_undecided_and_controls_hold_a_pass_back(ensembles):
    b, _, other, _, scales = ensembles
    few = np.arange(3)
    undecided = compare(PLAN, scales, b.taken(few), other.taken(few))
    assert undecided.outcome == "inconclusive"
    good = compare(PLAN, scales, b, other)
    at = (0.0, -0.01, 0.01)
    assert conclude(good, "pass", at, good, None) == ("pass", [])
    assert conclude(good, "pass", at, undecided, None)[0] == "inconclusive"
    assert conclude(good, "pass", at, good, good)[0] == "inconclusive"  # the damaged law was let through
    assert conclude(good, "fail", (-0.5, -0.6, -0.4), good, None)[0] == "fail"


def test_the_exponent_of_a_fixed_point_is_that_of_its_jacobian(engine, tmp_path):
    """An MLP that settles: cells do not speak to one another, so the exponent is log of the spectral radius."""
    still = random_law(tmp_path / "still", "MLP", d=3, c=8)
    plan = TINY.with_(spin_up=200, steps=240, rounds=12, settle=4, round_steps=2, perturbation=1e-3)
    found = evolve(engine, Subject(still, "fp32"), plan.grid, range(3), steps=240, every=4, spin_up=200)
    assert float(found.activity.max()) < 1e-6
    network = empty_network(still.manifest)
    network.load_state_dict(load_weights(still), assign=True)

    def cell(x: torch.Tensor) -> torch.Tensor:
        return step(network, "additive", x.view(1, -1, 1, 1), torch.full((1, 1, 1, 1), 0.01))[0].flatten()

    psi = found.psi[0, -1, 3, 3]
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(cell, torch.cat([psi.real, psi.imag]))
    expected = log(float(torch.linalg.eigvals(jacobian).abs().max()))
    assert expected < -0.1
    assert np.allclose(lyapunov(engine, Subject(still, "fp32"), found, plan), expected, atol=0.05)


@pytest.mark.slow
def test_paired_runs_agree_with_themselves_and_fall_to_the_floor_of_another_law(engine, law, ensembles, tmp_path):
    _, frames, _, _, _ = ensembles
    ends, seeds = frames.ends[:4], frames.seeds[:4]
    same = compare_pairs(engine, Subject(law, "fp32"), Subject(law, "fp32"), ends, seeds, PLAN)
    assert np.allclose(same.fidelity, 1, atol=1e-5)
    assert same.one_step_error < 1e-5
    assert same.crossing is None
    near = compare_pairs(engine, Subject(law, "fp32"), Subject(law, "bf16"), ends, seeds, PLAN)
    far = compare_pairs(
        engine, Subject(law, "fp32"), Subject(zeroed(law, 0.3, tmp_path / "z"), "fp32"), ends, seeds, PLAN
    )
    assert 0 < near.one_step_error < 0.1 < far.one_step_error
    assert near.fidelity[0] > 0.99 > far.fidelity[0]
    a, b = frames.psi[0, 0].numpy(), frames.psi[1, 0].numpy()
    expected = np.mean([abs(np.vdot(a[i, j], b[i, j])) ** 2 for i in range(16) for j in range(16)])
    assert float(state_fidelity(frames.psi[0, 0], frames.psi[1, 0])) == pytest.approx(expected, abs=1e-5)


def test_a_law_that_breaks_is_counted_and_left_out():
    empty = Trajectories(torch.zeros(0, 0, 8, 8, 2, dtype=torch.complex64), torch.zeros(0, 0), [], [], [1, 2], [], {})
    measured = measure_all(empty, wrap=False)
    assert measured.flags == {"nan": 2}
    assert measured.members == 0
    assert set(scales_of(measured, empty, wrap=False)) == set(measured.values)


def test_laws_with_a_memory_or_chance_can_be_judged(engine, tmp_path):
    lstm = random_law(tmp_path / "lstm", "UNET_CONVLSTM")
    nca = random_law(tmp_path / "nca", "NCA", options={"update_rate": 0.5, "padding": "periodic"})
    for law in (lstm, nca):
        found = judge(law, "int8", TINY.with_(damage=0.0), engine=engine)
        assert found.verdict in ("pass", "fail", "inconclusive")
        assert found.metrics
        assert found.paired["fidelity"][0] > 0.9


@pytest.mark.slow
def test_a_verdict_says_what_was_done(verdict, law):
    assert verdict.law["digest"] == law.digest
    assert verdict.precision == "nf4"
    assert verdict.plan["members"] == 4
    assert verdict.seeds["second baseline"] == (1_000_004, 1_000_007)
    assert verdict.engine["candidate"]["precision"] == "nf4"
    assert verdict.engine["baseline"]["precision"] == "fp32"
    assert verdict.controls["zeroed"]["must"] == "fail"
    assert verdict.verdict != "pass"
    assert verdict.reasons
    assert {len(sample) for said in verdict.samples.values() for sample in said.values()} == {4}
    assert set(verdict.information) == {"baseline", "second baseline", "candidate"}
    assert verdict.metric("activity").control != verdict.metric("activity").effect


@pytest.mark.slow
def test_a_verdict_survives_its_file(verdict, law, tmp_path):
    copy = write_law(tmp_path / "copy", load_file(law.path / WEIGHTS), **law.manifest.model_dump(exclude={"name"}))
    assert copy.digest == law.digest
    data = tmp_path / "data"
    assert read_verdict(copy, "nf4", data=data) is None
    path = write_verdict(copy, verdict, data=data)
    assert path == copy.path / "fidelity" / "nf4.json"
    assert read_verdict(copy, "nf4", data=data).to_json() == verdict.to_json() == from_json(verdict.to_json()).to_json()
    path.write_text("{}")
    assert read_verdict(copy, "nf4", data=data) is None
    (copy.path / "fidelity").rename(tmp_path / "away")
    (copy.path / "fidelity").write_text("a file where a folder should be")
    path = write_verdict(copy, verdict, data=data)
    assert path == data / "fidelity" / copy.digest / "nf4.json"
    assert read_verdict(copy, "nf4", data=data) is not None


@pytest.mark.slow
def test_auto_is_the_cheapest_precision_that_passed(verdict, law, tmp_path):
    copy = write_law(tmp_path / "copy", load_file(law.path / WEIGHTS), **law.manifest.model_dump(exclude={"name"}))
    assert cheapest_passing(copy, data=tmp_path) == "fp32"
    for precision, outcome in (("bf16", "pass"), ("int8", "pass"), ("nf4", "fail")):
        said = dataclasses.replace(verdict, verdict=outcome, precision=precision)
        write_verdict(copy, said, data=tmp_path)
    assert cheapest_passing(copy, data=tmp_path) == "int8"
    # the same file beside other weights says nothing about them
    other = random_law(tmp_path / "other", "UNET", seed=9)
    (copy.path / "fidelity").rename(other.path / "fidelity")
    assert cheapest_passing(other, data=tmp_path) == "fp32"


@pytest.mark.slow
def test_the_report_is_one_file_with_everything_in_it(verdict):
    page = report(from_json(verdict.to_json()))
    assert page.count("<svg") > 2 * len(verdict.metrics)
    assert not re.search(r"https?://|src=|<script|<link|url\(", page)
    for m in verdict.metrics:
        assert m.name in page
    assert page.count("<svg") == page.count("</svg>")
    assert "nan" not in "".join(re.findall(r'points="[^"]*"', page))


def test_plans_refuse_what_cannot_be_measured():
    for wrong in ({"steps": 110}, {"every": 7}, {"pairs": 1}, {"settle": 64}):
        [(name, value)] = wrong.items()
        with pytest.raises(ValueError, match=f"{name} = {value}"):
            PLANS["small"].with_(**wrong)
    plan = PLANS["small"]
    assert not set(plan.seeds) & set(plan.reference_seeds)
    assert not set(plan.candidate_seeds(same=True)) & (set(plan.seeds) | set(plan.reference_seeds))


@pytest.mark.slow
def test_a_pilot_decides_how_many_members_there_are(engine, law):
    plan = PLAN.with_(members=4, pairs=4, pilot=16, steps=300, rounds=6, deciding=("entropy", "activity"), most=200)
    subject = Subject(law, "fp32")
    chosen = sized_by_pilot(engine, subject, plan)
    pilot, frames = run_and_measure(engine, subject, range(plan.seed - 16, plan.seed), plan)
    scales = scales_of(pilot, frames, wrap=False)
    spread = max(float(pilot.values[name].std(ddof=1)) / scales[name] for name in plan.deciding)
    assert chosen.members == max(32, min(200, members_needed(spread)))
    strict = sized_by_pilot(engine, subject, plan.with_(margin=0.05 * spread / 0.1))  # asks for more than the least
    assert 32 < strict.members == members_needed(spread, 0.05 * spread / 0.1) <= 200
    assert sized_by_pilot(engine, subject, plan.with_(margin=1e-4)).members == 200
    assert not set(plan.pilot_seeds) & (set(plan.seeds) | set(plan.reference_seeds))


@pytest.mark.slow
def test_two_bit_weights_fail(engine, law, ensembles, tmp_path):
    b, _, other, _, scales = ensembles
    coarse = in_two_bits(law, tmp_path / "coarse")
    key = f"{law.manifest.architecture_info.head.rstrip('.')}.weight"
    before, after = load_weights(law)[key].flatten()[:64], load_weights(coarse)[key].flatten()[:64]
    assert len(torch.unique(after.abs())) <= 2
    assert float((after - before).abs().max()) <= float(before.abs().max()) / 3
    q, _ = run_and_measure(engine, Subject(coarse, "fp32"), PLAN.seeds, PLAN)
    assert compare(PLAN, scales, b, q, other).outcome == "fail"
