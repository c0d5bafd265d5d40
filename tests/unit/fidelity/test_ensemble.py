"""An ensemble is one run of the engine: its frames, its bits, and members that break."""

from __future__ import annotations

import dataclasses
from threading import Lock

import numpy as np
import pytest
import torch

from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.engine.states import Checkpoint
from leym.fidelity.ensemble import Subject, evolve
from leym.fidelity.gate import judge
from tests.support.laws import lively_law, random_law
from tests.support.plans import TINY


@pytest.fixture(scope="module")
def engine():
    running = Engine(32, compile=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    return lively_law(tmp_path_factory.mktemp("laws"))


def test_ensembles_are_the_frames_that_were_asked_for(engine, law):
    found = evolve(engine, Subject(law, "fp32"), (8, 8), [5, 6], steps=12, every=3, spin_up=6)
    assert found.frames == [9, 12]
    assert found.psi.shape == (2, 2, 8, 8, 2)
    assert found.psi.dtype == torch.complex64
    assert torch.equal(found.psi[1, -1], torch.from_numpy(np.array(found.ends[1].arrays["psi"])))
    # every step from there on, so that the engine's one-step activity can be computed again
    on = evolve(engine, Subject(law, "fp32"), (8, 8), [5, 6], steps=3, every=1, starts=found.ends)
    whole = torch.cat([found.psi[:, -1:], on.psi], 1)
    for t in range(3):
        a, b = whole[:, t], whole[:, t + 1]
        size = (a.conj() * b).sum(-1).abs() / (a.abs().square().sum(-1) * b.abs().square().sum(-1)).sqrt()
        assert np.allclose(on.activity[:, t], 1 - size.mean((1, 2)), atol=1e-5)
    assert torch.equal(on.psi, evolve(engine, Subject(law, "fp32"), (8, 8), [5, 6], steps=15, every=1).psi[:, 12:])


class OneByOne:
    """An engine that splits every run into runs of one member, submitted in reverse order."""

    def __init__(self, engine):
        self.engine, self.draining = engine, False
        self.warm = engine.warm

    def attributes(self, run):
        return dict(run.parts[0].computed_by)

    def submit(self, run):
        resumed = {int(p): s.of(np.array([i])) for s in run.resumed for i, p in enumerate(s.places)}
        run.parts = []
        for place, (seed, gamma, start) in enumerate(
            zip(run.members.seeds, run.members.gammas, run.members.starts, strict=True)
        ):
            state = resumed.get(place)
            begin = Checkpoint(state.step, {k: a[0] for k, a in state.arrays.items()}) if state else None
            sink = OfMember(run.sink, place)
            one = (f"{run.id}-{place}", run.law, run.precision, run.grid, run.steps, gamma, seed, start, sink)
            run.parts.append(Run.one(*one, run.record, run.observe, begin))
        for part in reversed(run.parts):
            self.engine.submit(part)


class OfMember:
    """Hands what a run of one member delivers to the sink of a run that it is a member of."""

    lock = Lock()

    def __init__(self, sink, place):
        self.sink, self.places = sink, np.array([place])

    def admitted(self):
        pass

    def progress(self, step, places):
        pass

    def checkpoint(self, state):
        pass

    def frames(self, step, places, fields, observables):
        with self.lock:
            self.sink.frames(step, self.places, fields, observables)

    def finished(self, state):
        with self.lock:
            self.sink.finished(dataclasses.replace(state, places=self.places))

    def failed(self, step, places, problem):
        with self.lock:
            self.sink.failed(step, self.places, problem)


@pytest.mark.parametrize("architecture", ["UNET", "UNET_CONVLSTM"])
def test_one_run_of_all_members_gives_the_bits_of_single_runs(engine, architecture, tmp_path):
    """The whole verdict: frames, Lyapunov exponents from start states with memory, paired runs and controls."""
    law = random_law(tmp_path / "law", architecture)
    plan = TINY.with_(members=5, steps=32, information=False)
    together, apart = (dataclasses.asdict(judge(law, "bf16", plan, engine=runs)) for runs in (engine, OneByOne(engine)))
    for name in ("created", "seconds"):
        del together[name], apart[name]
    np.testing.assert_equal(together, apart)


def test_members_that_break_are_left_out_and_named(engine, law):
    starts = [Checkpoint(4, {"psi": np.full((8, 8, 2), size, np.complex64)}) for size in (0.5, np.nan, 0.7)]
    found = evolve(engine, Subject(law, "fp32"), (8, 8), [3, 4, 5], steps=8, every=2, starts=starts)
    assert (found.broken, found.seeds, len(found.ends)) == ([4], [3, 5], 2)
    assert found.psi.shape[:2] == found.activity.shape == (2, 4)
    assert torch.isfinite(torch.view_as_real(found.psi)).all()
    assert torch.equal(found.psi[1, -1], torch.from_numpy(np.array(found.ends[1].arrays["psi"])))


def test_the_starts_of_an_ensemble_are_at_one_step(engine, law):
    psi = np.ones((8, 8, 2), np.complex64)
    starts = [Checkpoint(2, {"psi": psi}), Checkpoint(3, {"psi": psi})]
    with pytest.raises(ValueError, match=r"steps \[2, 3\]: expected one step"):
        evolve(engine, Subject(law, "fp32"), (8, 8), [0, 1], steps=4, every=1, starts=starts)
