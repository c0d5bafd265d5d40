"""Continuous batching: who joins when, who leaves when, and that nobody's bits depend on it."""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest
import torch

from leym.contract.spec import Observe, Recording
from leym.engine.batch_size import filling_size
from leym.engine.bucket import ResidentBuckets
from leym.engine.states import Checkpoint
from leym.engine.step.compiled import compile_step, make_step_
from tests.support.engines import BOTH_KINDS, COMPILED, KINDS, PSI, a_run, alone
from tests.support.laws import FORMS, deviation, oracle, random_law
from tests.support.recording_sink import RecordingSink


@pytest.mark.parametrize("compile", [False, COMPILED])
@pytest.mark.parametrize("architecture", KINDS)
def test_frames_are_the_same_bits_alone_and_among_any_batch_mates(architecture, compile, engines, tmp_path):
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    first = a_run(law, seed=3)
    engine = engines(8, compile=compile)
    engine.submit(first)
    expected = first.sink.wait().psi()
    assert np.abs(expected[1:] - expected[:-1]).max() > 1e-3  # the universe moves, so equal bits mean something
    mates = [a_run(law, id=f"mate-{i}", seed=i, steps=10 + 13 * i, gamma=0.02 * i) for i in range(5)]
    again = a_run(law, id="again", seed=3)
    for run in [*mates[:3], again, *mates[3:]]:
        engine.submit(run)
    for run in [again, *mates]:
        run.sink.wait()
    assert np.array_equal(again.sink.psi(), expected)
    assert not np.array_equal(mates[0].sink.psi()[1], expected[1])


@pytest.mark.parametrize("name", FORMS)
def test_the_engine_meets_the_oracle(name, engines, tmp_path):
    law = oracle(name, tmp_path)
    run = a_run(law.bundle, steps=10, precision="fp32", initial=law.psi[0], record=(Recording(field="psi", every=1),))
    engines().submit(run)
    psi = run.sink.wait().psi()
    assert np.array_equal(psi[0], law.psi[0])
    assert deviation(name, psi[1], law.psi[1]) < 1e-5
    assert deviation(name, psi[10], law.psi[10]) < 1e-3
    if law.memory:
        assert np.abs(run.sink.final["memory"] - law.memory[10]).max() < 1e-3


@BOTH_KINDS
def test_every_due_frame_and_observable_comes_once_and_in_order(engines, law):
    record = (Recording(field="phase", every=4, dtype="float16"), Recording(field="activity", every=6))
    run = a_run(law, steps=25, record=record, observe=Observe(every=5, names=("activity", "overlap")))
    engines().submit(run)
    sink = run.sink.wait()
    assert list(sink.fields) == sorted(sink.fields)
    assert [s for s, f in sink.fields.items() if "phase" in f] == [0, 4, 8, 12, 16, 20, 24]
    assert [s for s, f in sink.fields.items() if "activity" in f] == [0, 6, 12, 18, 24]
    assert [s for s, o in sink.observables.items() if o] == [0, 5, 10, 15, 20, 25]
    assert sink.fields[4]["phase"].dtype == np.float16
    assert sink.fields[4]["phase"].shape == (16, 16)
    assert sink.observables[0] == {"activity": 0.0, "overlap": pytest.approx(1)}
    assert sink.observables[5]["activity"] > 0
    assert sink.step == 25
    assert sink.calls == ["admitted", "finished"]


@BOTH_KINDS
def test_activity_compares_with_the_step_before(engines, law):
    record = (Recording(field="psi", every=1), Recording(field="activity", every=5))
    run = a_run(law, steps=10, record=record)
    engines().submit(run)
    fields = run.sink.wait().fields
    a, b = fields[4]["psi"].astype(complex), fields[5]["psi"].astype(complex)
    expected = 1 - np.abs((a.conj() * b).sum(-1)) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    np.testing.assert_allclose(fields[5]["activity"], expected, atol=1e-6)


@pytest.mark.parametrize("architecture", ["UNET", "UNET_CONVLSTM", "NCA"])
def test_resume_from_any_checkpoint_gives_the_same_bits(architecture, engines, tmp_path):
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    whole = a_run(law, steps=40, seed=5, record=(Recording(field="psi", every=1),))
    engines(checkpoint_s=0.0).submit(whole)
    psi = whole.sink.wait().psi()
    for step in (1, 13, 39):
        rest = a_run(law, steps=40, seed=5, record=PSI, start=Checkpoint(step, whole.sink.checkpoints[step]))
        engines().submit(rest)
        for s, fields in rest.sink.wait().fields.items():
            assert s > step
            assert np.array_equal(fields["psi"], psi[s])
        assert all(np.array_equal(rest.sink.final[name], whole.sink.final[name]) for name in whole.sink.final)


@BOTH_KINDS
def test_drain_checkpoints_running_and_releases_waiting_runs_and_they_go_on_elsewhere(engines, law):
    expected = alone(engines, law, slots=1, steps=400, record=(Recording(field="psi", every=100),))
    engine = engines(slots=1)
    running = a_run(law, id="running", steps=400, record=(Recording(field="psi", every=100),))
    waiting = a_run(law, id="waiting")
    engine.submit(running)
    assert running.sink.began.wait(240)
    engine.submit(waiting)
    engine.drain()
    assert running.sink.calls == ["admitted", "released"]
    assert waiting.sink.calls == ["released"]
    ((step, arrays),) = running.sink.checkpoints.items()
    assert 0 <= step < 400
    rest = a_run(law, steps=400, record=(Recording(field="psi", every=100),), start=Checkpoint(step, arrays))
    engines(slots=1).submit(rest)
    frames = running.sink.fields | rest.sink.wait().fields
    assert np.array_equal(np.stack([frames[s]["psi"] for s in sorted(frames)]), expected)


@BOTH_KINDS
def test_short_runs_do_not_wait_for_long_ones_and_free_slots_are_refilled(engines, law):
    engine = engines(slots=2)
    long = a_run(law, id="long", steps=100_000, record=())
    engine.submit(long)
    shorts = [a_run(law, id=f"short-{i}", steps=20, record=()) for i in range(5)]
    for run in shorts:
        engine.submit(run)
    for run in shorts:
        run.sink.wait()
    assert not long.sink.over.is_set()
    engine.cancel("long")


@BOTH_KINDS
def test_the_more_urgent_run_gets_the_next_slot(engines, law):
    engine = engines(slots=1)
    engine.submit(a_run(law, id="first", steps=60, record=()))
    order: list[str] = []
    runs = [a_run(law, id=f"p{p}", priority=p, steps=5, record=()) for p in (0, 9, 4)]
    for run in runs:
        run.sink.admitted = lambda id=run.id: order.append(id)
        engine.submit(run)
    for run in runs:
        run.sink.wait()
    assert order == ["p9", "p4", "p0"]


@BOTH_KINDS
def test_cancel_evicts_running_and_waiting_runs_without_another_word(engines, law):
    engine = engines(slots=1)
    running, waiting = (a_run(law, id=i, steps=1_000_000, record=()) for i in ("running", "waiting"))
    engine.submit(running)
    engine.submit(waiting)
    assert running.sink.began.wait(240)
    engine.cancel("running")
    engine.cancel("waiting")
    last = a_run(law, id="last", steps=3, record=())
    engine.submit(last)
    last.sink.wait()
    assert running.sink.calls == ["admitted"]
    assert waiting.sink.calls == []


@pytest.mark.parametrize(
    ("compile", "engines"),
    [
        (False, "default"),
        pytest.param(True, "default", marks=[pytest.mark.compile, pytest.mark.slow]),
        (False, "ahead"),
    ],
    indirect=["engines"],
)
def test_a_state_that_turns_non_finite_fails_its_own_run_with_the_step_named(compile, engines, law):
    expected = alone(engines, law, seed=1) if not compile else None
    engine = engines(compile=compile)
    bad_start = np.full((16, 16, 2), np.nan, np.complex64)
    mate, bad = a_run(law, id="mate", seed=1), a_run(law, id="bad", initial=bad_start)
    engine.submit(mate)
    engine.submit(bad)
    assert bad.sink.wait().calls[-1] == "failed"
    assert "not finite from step 1 on" in bad.sink.problem.detail
    assert "bad" in bad.sink.problem.detail
    assert sorted(bad.sink.fields) == [0]
    mate.sink.wait()
    if expected is not None:
        assert np.array_equal(mate.sink.psi(), expected)


@BOTH_KINDS
def test_a_slow_sink_gives_up_its_slot_and_loses_nothing(engines, law, monkeypatch):
    expected = alone(engines, law, slots=1, steps=60, record=(Recording(field="psi", every=1),))
    monkeypatch.setattr("leym.engine.delivery.LIMIT", 20_000)  # five frames of 4 KiB
    engine = engines(slots=1)
    slow = a_run(law, id="slow", steps=60, record=(Recording(field="psi", every=1),))
    quick = a_run(law, id="quick", steps=30, record=())
    take, held = slow.sink.frames, __import__("threading").Event()

    def frames(step, places, fields, observables):
        if step == 3:
            assert held.wait(240)
        take(step, places, fields, observables)

    slow.sink.frames = frames
    engine.submit(slow)
    engine.submit(quick)
    quick.sink.wait()  # gets the only slot while the other's sink is stuck
    assert not slow.sink.over.is_set()
    held.set()
    assert np.array_equal(slow.sink.wait().psi(), expected)


def test_a_law_that_cannot_be_made_ready_fails_its_run_and_the_engine_goes_on(engines, law, tmp_path):
    broken = random_law(tmp_path / "broken", "MLP")
    (broken.path / "weights.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    engine = engines()
    bad, good = a_run(broken, id="bad"), a_run(law, id="good")
    engine.submit(bad)
    engine.submit(good)
    assert bad.sink.wait().calls == ["failed"]
    assert "missing key" in bad.sink.problem.detail
    assert good.sink.wait().calls[-1] == "finished"


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["UNET", "UNET_CONVLSTM", "NCA"])
def test_the_step_compiles_to_one_graph_without_a_break(architecture, tmp_path):
    from leym.laws.loading import empty_network, load_weights

    law = random_law(tmp_path / "law", architecture, options={"update_rate": 0.5} if architecture == "NCA" else None)
    network = empty_network(law.manifest)
    network.load_state_dict(load_weights(law), assign=True)
    step_ = make_step_(law.manifest)
    memory = torch.zeros(2, *(network.memory_shape((16, 16)) if law.manifest.architecture_info.memory else (0,)))
    counts = (torch.arange(2) for _ in range(3))
    arguments = torch.randn(2, 4, 16, 16), memory, torch.zeros(2, 1, 1, 1), *counts
    explained, compiled, eager = ([a.clone() for a in arguments] for _ in range(3))
    report = torch._dynamo.explain(step_)(network, *explained)
    assert report.graph_count == 1
    assert report.graph_break_count == 0
    with torch.no_grad():
        compile_step(step_, torch.get_num_threads())(network, *compiled)
        step_(network, *eager)
    torch.testing.assert_close(compiled[0], eager[0], atol=1e-5, rtol=0)
    assert compiled[4].tolist() == compiled[5].tolist() == [1, 2]


@pytest.mark.compile
@pytest.mark.slow
def test_a_worker_compiles_more_buckets_than_dynamo_recompiles_one_function(engines, tmp_path):
    law = random_law(tmp_path / "law", "MLP", form="diagonal")  # which no fused kernel steps
    engine = engines(compile=True)
    runs = [a_run(law, id=str(side), grid=(side, 4), steps=2) for side in range(4, 13)]
    for run in runs:
        engine.submit(run)
    assert {run.sink.wait().calls[-1] for run in runs} == {"finished"}
    assert all(bucket["compiled"] for bucket in engine.info()["buckets"])


def test_rungs_fill_a_call_and_never_exceed_the_slots():
    assert filling_size((64, 64), 8, "cpu") == 4
    assert filling_size((16, 16), 8, "cpu") == 8
    assert filling_size((512, 512), 8, "cpu") == 1
    assert filling_size((64, 64), 64, "cuda") == 64
    assert filling_size((8, 8), 4096, "cpu") == 128, "one universe alone would wait for more empty slots"
    assert filling_size((64, 64), 4096, "cpu", skips_empty=True) == 16
    assert filling_size((8, 8), 4096, "cpu", skips_empty=True) == 1024
    assert filling_size((8, 8), 4096, "cuda", skips_empty=True) == 4096


@BOTH_KINDS
def test_info_counts_work_and_says_what_a_result_rests_on(engines, law):
    engine = engines(slots=4)
    run = a_run(law, steps=30)
    engine.submit(run)
    run.sink.wait()
    info, attributes = engine.info(), engine.attributes(run)
    assert info["cell_steps"] == 30 * 16 * 16
    assert info["slot_steps"] == 30
    assert info["batch_steps"] == 30 * attributes["batch_size"]
    assert info["busy"] == 0
    assert attributes["compiled"] is False
    assert "threads" in attributes["device"]
    assert info["buckets"][0]["bytes_at_rest"] < info["buckets"][0]["bytes_resident"]


def test_a_sink_may_ask_how_it_is_computed_while_others_are_admitted(engines, law):
    class Slow(ResidentBuckets):  # a bucket is away from its table for a moment at every admission: make it a long one
        def pop(self, *arguments):
            bucket = super().pop(*arguments)
            sleep(0.05)
            return bucket

    class Asking(RecordingSink):
        def admitted(self):
            super().admitted()
            self.attributes = engine.attributes(self.run)

    engine = engines(slots=8)
    engine.warm(law, "nf4", (16, 16))
    engine.buckets = engine._seating.buckets = Slow(engine.buckets)
    runs = [a_run(law, id=f"asking-{i}") for i in range(8)]
    for run in runs:
        run.sink = Asking()
        run.sink.run = run
        engine.submit(run)
    for run in runs:
        assert run.sink.over.wait(10)
        assert run.sink.attributes["precision"] == "nf4"


def test_a_run_knows_how_it_was_computed_when_its_bucket_has_left(engines, law, monkeypatch):
    monkeypatch.setattr("leym.engine.admission.RESIDENT", 0)
    engine, run = engines(slots=2), a_run(law, id="first")
    engine.submit(run)
    run.sink.wait()
    later = a_run(law, id="later", precision="int8")
    engine.submit(later)
    later.sink.wait()
    assert run.bucket not in engine.buckets
    assert engine.attributes(run)["precision"] == run.precision


@BOTH_KINDS
def test_the_device_seconds_of_all_runs_are_those_of_the_engine(engines, law):
    engine = engines(4)
    runs = [a_run(law, id=f"run-{i}", seed=i, steps=20 * (i + 1)) for i in range(3)]
    for run in runs:
        engine.submit(run)
    for run in runs:
        run.sink.wait()
    engine.stop()
    used = [run.device_s for run in runs]
    assert used == sorted(used)
    assert min(used) > 0
    assert sum(used) == pytest.approx(engine.counters.stepping_s + engine.counters.recording_s)
