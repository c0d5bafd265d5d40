"""Of several draws of codes, the one nearest to the fp32 law on universes that no judgement uses is kept."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.decision import Decision
from leym.fidelity.stats import Interval
from leym.quantization.codes import completed, decoded, own_codes, write_with_codes
from leym.quantization.nf4 import NF4
from leym.training.calibration.arms import Settings as Calibration
from leym.training.calibration.arms import calibrate
from leym.training.calibration.candidates import choose_codes
from leym.training.calibration.candidates import write as write_kept
from leym.training.calibration.states import check_seeds
from leym.training.refinement.refined import Candidate, refined, write
from leym.training.refinement.training import Settings, refine
from leym.training.yardstick import Yardstick, distance_of
from tests.support.laws import random_law

QUICK = Settings(grid=(8, 8), members=4, batch=2, updates=3, draws=3, measured=4, steps=4, lags=(2, 4), rate=1e-3)
PLAN = PLANS["small"].with_(grid=(8, 8), members=4, pilot=0, pairs=2, spin_up=20, steps=100, rounds=6, settle=2)


def same(one, two):
    def parts(code):
        return (code.packed, code.absmax) if isinstance(code, NF4) else (code,)

    return all(all(map(torch.equal, parts(code), parts(two[key]))) for key, code in one.items())


@pytest.fixture
def engine():
    engine = Engine(4, compile=False)  # which steps a compiled law takes would depend on when its compilation ends
    engine.start()
    yield engine
    engine.stop()


def test_the_nearest_refinement_is_kept_and_the_record_says_how_far_each_was(tmp_path, engine):
    law = random_law(tmp_path / "law", "NCA", c=8)
    lines = []
    chosen = refined(law, "nf4", QUICK, PLAN, engine=engine, on_progress=lines.append)
    every = [refine(law, "nf4", QUICK.draw(number)) for number in range(3)]
    assert len(lines) == 3
    yardstick = Yardstick(engine, law, PLAN, members=4, seed=QUICK.seeds.stop)
    distances = [yardstick.measure(partial(write, Candidate(law, "nf4", QUICK, one)), "nf4").distance for one in every]
    assert len(set(distances)) == 3
    assert chosen.choice.distances == pytest.approx(distances)
    nearest = distances.index(min(distances))
    assert [same(chosen.refined.codes, one.codes) for one in every] == [number == nearest for number in range(3)]
    said = chosen.provenance()
    assert said["draws"] == 3
    assert said["distances"] == pytest.approx(distances, rel=0.01)


def test_the_nearest_calibration_is_kept_and_the_record_says_how_far_each_was(tmp_path, engine):
    law = random_law(tmp_path / "law", "NCA", c=8)
    how = Calibration((8, 8), members=2, draws=3, measured=4)
    result = choose_codes(law, ["gptq", "absmax"], PLAN, how, engine=engine)
    yardstick = Yardstick(engine, law, PLAN, members=4, seed=how.seeds.stop)
    for arm in ("gptq", "absmax"):
        every = [calibrate(law, arm, how.draw(number)) for number in range(3)]
        distances = [
            yardstick.measure(partial(write_with_codes, law, precision="nf4", tensors=one), "nf4").distance
            for one in every
        ]
        assert result.choices[arm].distances == pytest.approx(distances)
        nearest = distances.index(min(distances))
        assert same(result.codes[arm], every[nearest])
        made = write_kept(result, arm, tmp_path / arm)
        said = made.manifest.provenance["calibration"]
        assert said["distances"] == pytest.approx(distances, rel=0.01)
        assert said["seeds"] == [how.seed, how.seed + 3 * 2 + 3 * 4 - 1]


def test_gains_are_fitted_from_the_one_draw_and_the_nearest_end_is_kept(tmp_path, engine):
    law, lines = random_law(tmp_path / "law", "NCA", c=8), []
    how = Calibration((8, 8), members=2, fit_rounds=1, measured=4)
    result = choose_codes(law, ["gptq"], PLAN, how, engine=engine, on_progress=lines.append)
    choice = result.choices["gptq"]
    yardstick = Yardstick(engine, law, PLAN, members=4, seed=how.seeds.stop)

    def distance(codes):
        write = partial(write_with_codes, law, precision="nf4", tensors=completed(law, "nf4", codes))
        return yardstick.measure(write, "nf4").distance

    assert choice.distances == ()
    assert choice.fitted.distances[0] == pytest.approx(distance(calibrate(law, "gptq", how.draw(0))))
    assert min(choice.fitted.distances) == pytest.approx(distance(result.codes["gptq"]))
    assert lines[0].startswith("gptq, gains, round 1 of 1: distance ")
    said = write_kept(result, "gptq", tmp_path / "made").manifest.provenance["calibration"]
    assert said["fit_distances"] == pytest.approx(choice.fitted.distances, rel=0.01)
    assert (said["fit_rounds"], said["measured"]) == (1, 4)
    assert "draws" not in said
    assert said["seeds"] == [how.seed, how.seed + 2 + 3 * 4 - 1]


def test_refined_gains_decode_to_the_weights_that_the_record_holds(tmp_path, engine):
    law = random_law(tmp_path / "law", "NCA", c=8)
    how = replace(QUICK, draws=1, fit_rounds=1)
    chosen = refined(law, "nf4", how, PLAN, engine=engine)
    made = write(chosen, tmp_path / "made")
    found = {key: decoded(code) for key, code in own_codes(made, "nf4").items()}
    assert found
    assert all(torch.equal(value, chosen.refined.decoded[key]) for key, value in found.items())
    assert made.manifest.provenance["refinement"]["fit_rounds"] == 1


def test_one_draw_is_the_result_without_a_choice(tmp_path):
    law = random_law(tmp_path / "law", "MLP", c=8)
    once = replace(QUICK, draws=1)
    only = refined(law, "nf4", once, PLAN)
    assert same(only.refined.codes, refine(law, "nf4", once).codes)
    assert only.choice.distances == ()
    assert only.choice.fitted is None
    assert "draws" not in only.provenance()
    with pytest.raises(ValueError, match="draws = 3"):
        refine(law, "nf4", QUICK)
    with pytest.raises(ValueError, match="draws = 2"):
        calibrate(law, "gptq", Calibration(draws=2))


def test_a_ruined_law_is_farther_than_one_as_it_was_calibrated(tmp_path, engine):
    law = random_law(tmp_path / "law", "NCA", c=8)
    codes = calibrate(law, "gptq", Calibration((8, 8), members=4))
    zeros = {
        key: replace(code, absmax=torch.zeros_like(code.absmax)) if isinstance(code, NF4) else code
        for key, code in codes.items()
    }
    yardstick = Yardstick(engine, law, PLAN, members=4, seed=QUICK.seed)
    near, far = (
        yardstick.measure(partial(write_with_codes, law, precision="nf4", tensors=one), "nf4").distance
        for one in (codes, zeros)
    )
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


@pytest.mark.parametrize("how", [QUICK, Calibration((8, 8), members=4, draws=3, measured=4)])
def test_draws_and_their_measurements_have_seeds_of_their_own(how):
    seeds = [{*how.draw(number).seeds} for number in range(3)]
    measured = {*range(how.seeds.stop, how.seeds.stop + 3 * how.measured)}
    assert sum(map(len, seeds)) + len(measured) == len(set.union(measured, *seeds))
    assert set.union(measured, *seeds) == {*how.used_seeds}
    with pytest.raises(ValueError, match="must not overlap"):
        check_seeds(how.used_seeds, PLAN.with_(seed=how.used_seeds.stop - 1))


@pytest.mark.parametrize("settings", [Settings, Calibration])
@pytest.mark.parametrize("wrong", [{"draws": 0}, {"fit_rounds": -1}, {"measured": 1}])
def test_impossible_settings_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)
