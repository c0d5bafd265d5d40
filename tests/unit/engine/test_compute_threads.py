"""One thread of a process owns a pool of compute threads; every other one computes alone."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread

import pytest
import torch
from torch._dynamo.utils import counters

from leym.contract.spec import ComplexNoise
from leym.engine import compute_threads
from leym.engine.benchmark import Countdown
from leym.engine.engine import Engine
from leym.engine.run import Run
from tests.support.laws import random_law


def in_a_new_thread(call):
    found = []
    thread = Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def threads(monkeypatch):
    """Three threads for torch, in this thread and in new ones, though other tests may have left engines behind."""
    monkeypatch.setattr(compute_threads, "_owners", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def engine(threads):
    made = Engine(2, compile=False)
    made.start()
    yield made
    made.stop()


def test_the_device_thread_owns_the_pool_and_every_other_thread_computes_alone(engine, threads):
    assert engine.device.threads == threads
    assert engine.on_device_thread(torch.get_num_threads) == threads
    assert torch.get_num_threads() == 1
    assert in_a_new_thread(torch.get_num_threads) == 1
    assert in_a_new_thread(lambda: Engine(2, compile=False).device.threads) == threads


def test_the_pool_goes_back_when_the_engine_stops(threads):
    engine = Engine(2, compile=False)
    engine.start()
    engine.stop()
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == threads


def test_the_last_of_two_engines_gives_the_pool_back(threads):
    first, second = Engine(2, compile=False), Engine(2, compile=False)
    first.start()
    second.start()
    first.stop()
    assert in_a_new_thread(torch.get_num_threads) == 1
    second.stop()
    assert in_a_new_thread(torch.get_num_threads) == compute_threads.pool_size() == threads


@pytest.mark.compile
@pytest.mark.slow
def test_the_device_thread_does_not_compile_again_what_was_warmed_on_one_thread(threads, tmp_path):
    law = random_law(tmp_path / "law", "MLP", form="diagonal")  # which no fused kernel steps
    engine = Engine(2)
    engine.start()
    try:
        engine.warm(law, "fp32", (16, 16))
        compiled = counters["stats"]["unique_graphs"]
        sink = Countdown()
        engine.submit(Run.one("one", law, "fp32", (16, 16), 8, 0.01, 1, ComplexNoise(), sink))
        assert sink.over.wait(600)
        assert sink.problem is None
        assert counters["stats"]["unique_graphs"] == compiled > 0
    finally:
        engine.stop()


def test_a_call_on_the_device_thread_that_fails_harms_only_its_caller(engine):
    with pytest.raises(ZeroDivisionError):
        engine.on_device_thread(lambda: 1 / 0)
    assert engine.on_device_thread(lambda: 7) == 7
    engine.stop()
    with pytest.raises(RuntimeError, match="not running"):
        engine.on_device_thread(lambda: 7)


ON_ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from leym.engine.compute_threads import pool_size
print(pool_size())
"""


def test_a_pool_is_no_larger_than_the_processors_that_the_process_may_use():
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))}
    command = [sys.executable, "-c", ON_ONE_PROCESSOR]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "1"
