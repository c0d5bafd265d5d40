"""Of several candidates, the one nearest to the fp32 law on universes that no judgement uses is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.baselines import run_baselines
from leym.fidelity.decision import Decision
from leym.fidelity.stats import Interval
from leym.quantization.nf4 import NF4
from leym.training.calibration.states import check_seeds
from leym.training.refinement.refined import Candidate
from leym.training.refinement.selection import distance, distance_of, measuring, refined
from leym.training.refinement.training import Settings, candidates, refine
from tests.support.laws import random_law

QUICK = Settings(grid=(8, 8), members=4, batch=2, updates=3, cycles=3, measured=4, steps=4, lags=(2, 4), rate=1e-3)
PLAN = PLANS["small"].with_(grid=(8, 8), members=4, pilot=0, pairs=2, spin_up=20, steps=100, rounds=6, settle=2)


def same(one, two):
    def parts(code):
        return (code.packed, code.absmax) if isinstance(code, NF4) else (code,)

    return all(all(map(torch.equal, parts(code), parts(two.codes[key]))) for key, code in one.codes.items())


def test_the_nearest_of_all_candidates_is_kept_and_the_record_says_how_far_each_was(tmp_path):
    law = random_law(tmp_path / "law", "NCA", c=8)
    lines = []
    chosen = refined(law, "nf4", QUICK, PLAN, on_progress=lines.append)
    every = list(candidates(law, "nf4", QUICK))
    assert len(chosen.distances) == len(every) == len(lines) == 3
    nearest = chosen.distances.index(min(chosen.distances))
    assert [same(chosen.refined, one) for one in every] == [number == nearest for number in range(3)]
    said = chosen.provenance()
    assert said["cycles"] == 3
    assert said["distances"] == pytest.approx(chosen.distances, rel=0.01)


def test_the_last_candidate_is_the_result_without_a_choice(tmp_path):
    law = random_law(tmp_path / "law", "MLP", c=8)
    *_, last = candidates(law, "nf4", QUICK)
    assert same(refine(law, "nf4", QUICK), last)
    only = refined(law, "nf4", replace(QUICK, cycles=1), PLAN)
    assert only.distances == ()
    assert "cycles" not in only.provenance()


def test_a_ruined_candidate_is_farther_than_one_as_it_was_calibrated(tmp_path):
    law = random_law(tmp_path / "law", "NCA", c=8)
    kept = Candidate(law, "nf4", QUICK, refine(law, "nf4", replace(QUICK, updates=0, cycles=1)))
    zeros = {
        key: replace(code, absmax=torch.zeros_like(code.absmax)) if isinstance(code, NF4) else code
        for key, code in kept.refined.codes.items()
    }
    engine = Engine(4)
    engine.start()
    try:
        baselines = run_baselines(engine, law, measuring(PLAN, QUICK))
        near, far = (
            distance(engine, baselines, replace(kept, refined=replace(kept.refined, codes=codes)))[0]
            for codes in (kept.refined.codes, zeros)
        )
    finally:
        engine.stop()
    assert far > 2 * near


def test_the_distance_is_the_largest_effect_in_margins():
    def effect(value):
        return Interval(value, value, value, 0.0, 0.0)

    intervals = {name: effect(0.0) for name in PLAN.deciding} | {"lyapunov": effect(-0.1), "reported": effect(9.0)}
    decision = Decision("fail", intervals, {}, (0.02, 0.0, 0.0), [])
    assert distance_of(decision, PLAN) == (pytest.approx(2.0), "lyapunov")
    spectral = replace(decision, spectrum=(0.15, 0.0, 0.0))
    assert distance_of(spectral, PLAN) == (pytest.approx(3.0), "spectrum")
    unknown = replace(decision, intervals=intervals | {"entropy": effect(float("nan"))})
    assert distance_of(unknown, PLAN) == (float("inf"), "entropy")


def test_measurements_of_candidates_use_the_seeds_that_are_kept_from_judgements():
    used, plan = QUICK.used_seeds, measuring(PLAN, QUICK)
    measured = {*plan.seeds, *plan.reference_seeds, *plan.candidate_seeds(same=True)}
    assert measured.isdisjoint(QUICK.seeds)
    assert {*QUICK.seeds, *measured} == {*used}
    with pytest.raises(ValueError, match="must not overlap"):
        check_seeds(used, PLAN.with_(seed=used.stop - 1))


@pytest.mark.parametrize("wrong", [{"cycles": 0}, {"cycles": 2, "updates": 0}, {"measured": 1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(QUICK, **wrong)
