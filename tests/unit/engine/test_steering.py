"""Gamma schedules and interventions in the engine: they act at their steps, bit for bit, whoever else is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.contract.interventions import live_change
from leym.contract.spec import Observe, Recording
from leym.engine.run import Members, Run
from leym.engine.states import Checkpoint
from leym.engine.steering import Steering, apply
from leym.laws.bundle import Bundle
from leym.physics.step import to_complex, to_real
from tests.support.engines import BOTH_KINDS, COMPILED, KINDS, a_run
from tests.support.laws import growing_law, random_law
from tests.support.recording_sink import MembersSink

EACH = (Recording(field="psi", every=1),)
SCHEDULE = ((0, 0.01), (7, 0.2), (18, 0.0), (19, 0.05))
AREA = {"kind": "rectangle", "y": 2, "x": 3, "height": 9, "width": 6}
CHANGES = tuple(
    live_change(one)
    for one in (
        {"kind": "noise", "step": 0, "strength": 0.3},
        {"kind": "vortex", "step": 5, "y": 6, "x": 9.5, "radius": 4},
        {"kind": "noise", "step": 5, "strength": 0.1},
        {
            "kind": "wave",
            "step": 11,
            "kx": 0.4,
            "region": {"kind": "rectangle", "y": 2, "x": 3, "height": 9, "width": 6},
        },
        {"kind": "collapse", "step": 17, "to": "drawn", "region": {"kind": "disc", "y": 8, "x": 8, "radius": 5}},
        {"kind": "paint", "step": 18, "y": 1, "x": 1, "radius": 2, "channel": 1, "phase": 0.5},
    )
)
STEERED = Steering({0: SCHEDULE}, CHANGES)


def run_of(law: Bundle, steps: int = 24, **more) -> Run:
    options = {"precision": "fp32", "record": EACH, "steering": STEERED, "seed": 3} | more
    return a_run(law, steps=steps, **options)


def done(engine, run):
    engine.submit(run)
    return run.sink.wait()


@BOTH_KINDS
@pytest.mark.parametrize("architecture", ["UNET_UNITARY", "UNET_CONVLSTM", "MLP", "NCA"])
def test_a_schedule_equals_the_run_cut_into_forks(architecture, engines, tmp_path):
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    engine = engines(2)
    found = done(engine, run_of(law, steering=Steering({0: SCHEDULE})))
    start, psi = None, {}
    for (step, gamma), (until, _) in zip(SCHEDULE, [*SCHEDULE[1:], (24, 0)], strict=True):
        assert start is None or start.step == step
        part = done(engine, run_of(law, id=f"from {step}", steps=until, gamma=gamma, start=start, steering=None))
        psi |= {at: fields["psi"] for at, fields in part.fields.items()}
        start = Checkpoint(until, part.final)
    assert set(psi) == set(found.fields) == set(range(25))
    assert all(np.array_equal(psi[step], found.fields[step]["psi"]) for step in psi)
    assert not np.array_equal(psi[24], done(engine, run_of(law, id="plain", steering=None)).last)


@pytest.mark.parametrize("compile", [False, COMPILED])
@pytest.mark.parametrize("architecture", ["UNET", "UNET_CONVLSTM", "MLP", "NCA"])
def test_a_steered_run_has_the_same_bits_alone_in_company_in_long_bursts_and_from_any_checkpoint(
    architecture, compile, engines, tmp_path
):
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    engine = engines(8, compile=compile, checkpoint_s=0.0)
    alone = done(engine, run_of(law))
    mates = [run_of(law, id=f"mate-{i}", seed=i, steps=20 + i, steering=STEERED if i % 2 else None) for i in range(5)]
    few = run_of(law, id="few", record=(Recording(field="psi", every=24),))
    for run in [*mates[:3], few, *mates[3:]]:
        engine.submit(run)
    assert np.array_equal(few.sink.wait().last, alone.last)
    assert np.array_equal(mates[3].sink.wait().last, alone.fields[23]["psi"])
    assert len(alone.checkpoints) > 10
    for step, arrays in alone.checkpoints.items():
        again = done(engine, run_of(law, id=f"from {step}", start=Checkpoint(step, arrays)))
        assert np.array_equal(again.last, alone.last), step
    [run.sink.wait() for run in mates]


def test_an_intervention_acts_after_the_frame_of_its_step_and_before_the_next_step(engines, law):
    """Cut by hand: the run up to the step, the intervention by its function, the run from there."""
    engine = engines()
    steered, cut = done(engine, run_of(law, steering=Steering({}, CHANGES[1:3]))), run_of(law, steps=5, steering=None)
    before = done(engine, cut)
    assert np.array_equal(steered.fields[5]["psi"], before.last)
    x = to_real(torch.from_numpy(before.last[None]))
    for number, one in enumerate(CHANGES[1:3]):
        x = apply(one, x, np.array([3]), 5, number, law.manifest, {})
    changed = to_complex(x)[0].numpy()
    np.testing.assert_allclose(np.linalg.norm(changed, axis=-1), 1, atol=1e-6)  # within the law's constraint
    rest = done(engine, run_of(law, id="rest", start=Checkpoint(5, {"psi": changed}), steering=None))
    for step in range(6, 25):
        assert np.array_equal(steered.fields[step]["psi"], rest.fields[step]["psi"]), step


def test_activity_tells_what_the_law_did_and_not_the_user(engines, law):
    observe = Observe(every=1, names=("activity",))
    found = done(engines(), run_of(law, steering=Steering({}, CHANGES[1:2]), observe=observe))
    x = to_real(torch.from_numpy(found.fields[5]["psi"][None]))
    a = to_complex(apply(CHANGES[1], x, np.array([3]), 5, 0, law.manifest, {}))[0].numpy().astype(complex)
    b = found.fields[6]["psi"].astype(complex)
    expected = 1 - np.abs((a.conj() * b).sum(-1)) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    assert found.observables[6]["activity"] == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("constraint", ["none", {"box": [-0.2, 0.3]}])
def test_laws_with_other_constraints_are_steered_within_them(constraint, engines, tmp_path):
    law = growing_law(tmp_path, constraint=constraint)
    vector = [[0.9, 0.1]] * 4
    steering = Steering({}, (live_change({"kind": "set", "step": 3, "vector": vector}),))
    run = run_of(law, steps=4, grid=(8, 8), steering=steering)
    found = done(engines(), run)
    low, high = (-np.inf, np.inf) if constraint == "none" else constraint["box"]
    changed = np.broadcast_to(np.complex64(min(0.9, high) + 0.1j), (8, 8, 4)).copy()
    rest = done(engines(), run_of(law, steps=4, grid=(8, 8), start=Checkpoint(3, {"psi": changed}), steering=None))
    assert np.array_equal(found.last, rest.last)
    assert low <= found.last.real.min() <= found.last.real.max() <= high


def test_an_uploaded_state_is_set_in_a_region_only(engines, law):
    rng = np.random.default_rng(0)
    state = rng.standard_normal((16, 16, 2)) + 1j * rng.standard_normal((16, 16, 2))
    state = (state / np.linalg.norm(state, axis=-1, keepdims=True)).astype(np.complex64)
    region = {"kind": "rectangle", "y": 14, "x": 3, "height": 4, "width": 5}
    one = live_change({"kind": "set", "step": 1, "state": "0" * 64, "region": region})
    x = torch.zeros(1, 4, 16, 16)
    found = to_complex(apply(one, x, np.array([0]), 1, 0, law.manifest, {"0" * 64: state}))[0].numpy()
    np.testing.assert_allclose(found[14:, 3:8], state[14:, 3:8], atol=1e-6)
    found[14:, 3:8] = 0
    assert not found.any()  # the grid does not wrap around, so two of the four rows are cut off


def test_members_of_a_block_are_steered_like_single_runs(engines, law):
    n = 7
    seeds, gammas = np.arange(n, dtype=np.int64), np.full(n, 0.02, np.float32)
    schedules = dict.fromkeys((1, 2, 5), SCHEDULE)
    members = Members(seeds, gammas, [a_run(law).members.starts[0]] * n)
    block = Run(
        "block", law, "fp32", (16, 16), 24, members, MembersSink(n), EACH, steering=Steering(schedules, CHANGES)
    )
    engine = engines(2, largest_batch=4)
    found = done(engine, block)
    for place in range(n):
        steering = Steering({0: SCHEDULE} if place in schedules else {}, CHANGES)
        single = run_of(law, id=str(place), seed=place, gamma=0.02, steering=steering)
        expected = done(engine, single)
        for step, fields in expected.fields.items():
            assert np.array_equal(found.members[place].fields[step]["psi"], fields["psi"]), (place, step)
