"""The service as its users see it: real processes, real HTTP, real Redis."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pandas
import pytest

from leym.client import JobFailed, ProblemError
from leym.contract.catalog import DEFAULT_OBSERVABLES
from leym.contract.spec import ComplexNoise, Recording
from leym.laws.registry import Registry
from tests.support.command import leym_here
from tests.support.laws import FORMS, TOLERANCE, deviation, oracle
from tests.support.processes import children, resident
from tests.support.recording_sink import RecordingSink
from tests.support.service import LONG, Service, add_laws, frames, until


def test_up_says_one_line_and_every_part_answers(service):
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+\n", service.said)
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/"):
        with urllib.request.urlopen(service.url + path) as answer:
            assert answer.status == 200, path
    [worker] = service.simulators()
    assert worker["state"] == "ready"
    assert worker["slots"] == 4


@pytest.mark.parametrize("name", FORMS)
def test_a_running_service_meets_the_oracle(name, service, tmp_path):
    law = oracle(name, tmp_path)
    start = {"kind": "upload", "id": service.client.upload_state(law.psi[0])}
    grid = law.psi[0].shape[:2]
    job = service.client.submit(name, grid, 10, {"psi": 1}, initial=start, gamma=law.gamma, precision="fp32").wait(240)
    found = frames(job)
    assert np.array_equal(found[0], law.psi[0])
    for step, bound in TOLERANCE.items():
        assert deviation(name, found[step], law.psi[step]) < bound, f"step {step}"


@pytest.mark.usefixtures("threads_of_the_service")
def test_a_service_gives_the_bits_of_the_engine_alone_and_among_batch_mates(service):
    from leym.engine.engine import Engine
    from leym.engine.run import Run

    specs = [{"steps": 60, "seed": 1}, {"steps": 35, "seed": 2}, {"steps": 50, "seed": 3, "gamma": 0.3}]
    jobs = [service.client.submit("tiny", (16, 16), record={"psi": 5}, precision="nf4", **spec) for spec in specs]
    law = Registry(service.data / "laws").resolve("tiny")
    engine = Engine(4, compile=False)
    engine.start()
    for job, spec in zip(jobs, specs, strict=True):
        sink = RecordingSink()
        gamma = spec.get("gamma", 0.01)
        record = (Recording(field="psi", every=5),)
        engine.submit(
            Run.one(job.id, law, "nf4", (16, 16), spec["steps"], gamma, spec["seed"], ComplexNoise(), sink, record)
        )
        alone = sink.wait().psi()
        assert np.array_equal(frames(job.wait(240)), alone)
    engine.stop()


def test_frames_stream_in_order_and_resume_where_they_stopped(service):
    job = service.client.submit(steps=1000, seed=4, **LONG)
    seen = []
    for frame in job.stream():
        seen.append(frame.step)
        if len(seen) == 5:
            break
    job.wait(240)
    seen += [frame.step for frame in job.stream(start=seen[-1] + 1)]
    assert seen == list(range(0, 1001, 25))


def test_xarray_reads_a_job_that_grows_and_never_sees_a_frame_that_is_not_there(service, tmp_path):
    import xarray

    job = service.client.submit(steps=1600, seed=5, **LONG)
    until(lambda: job.refresh().step > 100 or job.done, what="first frames")
    lengths = []
    while True:
        done = job.refresh().done
        with xarray.open_datatree(f"{job.url}/store.zarr", engine="zarr") as found:
            psi, entropy = found["psi"].values, found["observables/channel_entropy"].values
            assert found["psi"].attrs["units"]
            assert found.attrs["law"] == job.law
            assert np.array_equal(found["step"].values, np.arange(len(psi)) * 25)
        norms = np.abs(psi) ** 2
        assert np.allclose(norms[1:].sum(-1), 1, atol=1e-4), "a frame that was not committed"
        assert np.isfinite(entropy).all()
        lengths.append(len(psi))
        if done:
            break
    assert len(set(lengths)) >= 2
    assert lengths[-1] == 65
    assert np.array_equal(psi, frames(job))
    job.dataset().to_netcdf(tmp_path / "job.nc")  # complex, and with all attributes that an engine gives
    with xarray.open_dataset(tmp_path / "job.nc") as back:
        assert np.array_equal(back["psi"].values, psi)
        assert json.loads(back.attrs["spec"]) == job.spec
        assert json.loads(back.attrs["segments"]) == job.list_segments() != []


def test_an_urgent_job_overtakes_on_a_full_worker(service):
    quiet = service.client.submit(steps=600, seed=31, **LONG).wait(240)
    slots = service.simulators()[0]["slots"]
    low = [service.client.submit(steps=10**6, seed=31, priority=1, **LONG) for _ in range(2 * slots)]
    until(lambda: service.simulators()[0]["busy"] == slots, what="every slot is taken")
    urgent = service.client.submit("tiny", (16, 16), 50, {"psi": 10}, seed=1, priority=9).wait(240)
    assert len(frames(urgent)) == 6
    until(lambda: service.simulators()[0]["info"]["swapped_out"], what="it says that it has swapped one out")
    # the one that made room has least left to do, so it is seated again before those that never had a slot
    until(lambda: sum(job.refresh().step >= 600 for job in low) >= slots, what="as many as there are slots go on")
    gone_on = [job for job in low if job.step >= 600]
    for job in low:
        job.cancel()
    for job in gone_on:
        assert np.array_equal(job.array("psi", stop=601)[1], frames(quiet))


def test_cancel_frees_the_slot_and_keeps_the_frames(service):
    job = service.client.submit(steps=1_000_000, seed=7, **LONG)
    until(lambda: job.refresh().step > 50, what="some progress")
    assert job.cancel().state == "cancelled"
    step = job.refresh().step
    assert len(frames(job)) == step // 25 + 1
    until(lambda: service.simulators()[0]["busy"] == 0, what="a free slot")
    assert job.refresh().state == "cancelled"
    assert job.step == step
    job.delete()
    with pytest.raises(ProblemError) as gone:
        service.client.job(job.id)
    assert gone.value.status == 410


def test_flower_says_what_a_job_is_and_its_terminate_cancels_them(service):
    flower = re.findall(r"Flower is at (http://\S+)", service.log.read_text())[-1]

    def task(job_id):
        with urllib.request.urlopen(f"{flower}/api/tasks") as answer:
            return json.load(answer).get(job_id)

    job = service.client.submit(steps=1_000_000, seed=8, **LONG)
    until(lambda: (task(job.id) or {}).get("state") == "STARTED", what="Flower sees the job")
    assert "tiny fp32 32x32, 1000000 steps" in task(job.id)["args"]
    request = urllib.request.Request(f"{flower}/api/task/revoke/{job.id}?terminate=true", method="POST")
    urllib.request.urlopen(request).close()
    until(lambda: job.refresh().done, what="the job is cancelled")
    assert job.state == "cancelled"
    until(lambda: task(job.id)["state"] == "REVOKED", what="Flower shows it")
    until(lambda: service.simulators()[0]["busy"] == 0, what="a free slot")


def test_a_state_that_turns_non_finite_fails_its_own_job_and_no_other(service, tmp_path):
    from leym.laws.loading import load_weights
    from tests.support.laws import write_law

    law = Registry(service.data / "laws").resolve("tiny")
    weights = {key: value.numpy() for key, value in load_weights(law).items()}
    weights["outc.weight"] = weights["outc.weight"] * np.float32(1e38)
    kind = {"architecture": "UNET", "d_state": 2, "hidden_channels": 4, "form": "additive"}
    shutil.copytree(write_law(tmp_path / "wild", weights, **kind).path, service.data / "laws" / "wild")
    mate = service.client.submit("tiny", (16, 16), 200, {"psi": 50}, seed=9, precision="fp32")
    job = service.client.submit("wild", (16, 16), 200, {"psi": 1}, seed=9, precision="fp32")
    with pytest.raises(JobFailed, match="not finite from step 1 "):
        job.wait(240)
    assert len(frames(job)) == 1
    assert np.isfinite(frames(job)).all()
    assert mate.wait(240).state == "succeeded"


def test_a_job_that_starts_from_anothers_state_goes_on_as_if_it_were_one(service):
    whole = service.client.submit(steps=100, seed=10, **LONG).wait(240)
    first = service.client.submit(steps=50, seed=10, **LONG).wait(240)
    start = {"kind": "state", "job": first.id, "step": 50}
    second = service.client.submit(steps=50, initial=start, **LONG).wait(240)
    assert np.array_equal(frames(second), frames(whole)[2:])


def test_a_job_from_anothers_state_inherits_law_grid_gamma_and_precision_and_the_command_says_so(service):
    parent = service.client.submit("tiny", (16, 24), 20, gamma=0.25, precision="fp32").wait(240)
    start = ["--initial", f"{parent.id}@20", "--steps", "10"]

    def leym(*arguments: str) -> tuple[str, str]:
        done = leym_here("--url", service.url, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    made, said = leym("submit", *start)
    child = service.client.job(made).wait(240)
    assert child.law == parent.law
    assert (child.spec["grid"], child.spec["gamma"], child.spec["precision"]) == ([16, 24], 0.25, "fp32")
    assert f"inherited from {parent.id}: law {parent.law}, grid 16x24, gamma 0.25, precision fp32" in said
    made, said = leym("submit", "tiny", *start, "--gamma", "0.5")
    assert f"differs from {parent.id}: gamma 0.5 (there 0.25)" in said
    assert "law" not in said.split("differs")[1]
    made, said = leym("sweep", "run", *start, "-a", "gamma=0,0.5", "--json")
    assert f"inherited from {parent.id}: law {parent.law}, grid 16x24, precision fp32" in said
    members = list(service.client.get_sweep(json.loads(made)["id"]).jobs())
    assert [(m.law, m.spec["gamma"], m.spec["grid"]) for m in members] == [
        (parent.law, 0.5, [16, 24]),
        (parent.law, 0, [16, 24]),
    ]
    made, _ = leym("sweep", "run", "tiny", "-a", "initial.strength=0.1,0.2", "--grid", "16", "--steps", "5", "--json")
    assert json.loads(made)["size"] == 2


def test_a_job_past_its_deadline_fails_and_keeps_its_frames(service):
    job = service.client.submit(steps=1_000_000, seed=11, deadline_s=3, **LONG)
    with pytest.raises(JobFailed, match="deadline_s = 3 passed"):
        job.wait(240)
    assert len(frames(job)) > 1
    until(lambda: service.simulators()[0]["busy"] == 0, what="a free slot")


def test_the_command_line_submits_watches_and_fetches(service, tmp_path):
    def leym(*arguments: str) -> str:
        command = [sys.executable, "-m", "leym.cli", "--url", service.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout

    assert "tiny" in leym("laws")
    asked = ("--grid", "16", "--steps", "40", "--record", "phase:10", "--observe", "10", "--name", "first light")
    job = leym("submit", "tiny", *asked).strip()
    leym("watch", job)
    assert service.client.job(job).as_dict()["name"] == "first light"
    assert job in leym("jobs", "--state", "succeeded")
    leym("frames", job, "phase", "--out", str(tmp_path / "phase.gif"))
    assert (tmp_path / "phase.gif").read_bytes().startswith(b"GIF89a")
    long = leym("submit", "tiny", "--steps", "1000000").strip()
    leym("cancel", long)
    assert service.client.job(long).state == "cancelled"


def test_a_sweep_is_one_table(service):
    sweep = service.client.sweep("tiny", {"gamma": [0.0, 0.1], "seed": range(3)}, grid=(16, 16), steps=20, observe=10)
    for job in sweep.jobs():
        job.wait(240)
    with urllib.request.urlopen(f"{service.url}/v1/sweeps/{sweep.id}/table?format=csv") as answer:
        head, *rows = answer.read().decode().split()
    assert len(rows) == 6
    assert {"gamma", "seed", "activity"} <= set(head.split(","))


def test_a_table_is_the_same_as_csv_as_tsv_and_in_the_sdk(service):
    """Axes named like another column, with a structure, and with text that is hard to write."""
    notes = ["a\rb", 'say "so",\tplease\n', " NA "]
    axes = {"steps": [10, 20, 30], "grid": [[8, 8], [8, 16], [16, 8]], "tags.note": notes}
    sweep = service.client.sweep("tiny", axes, "zip", observe=10, precision="fp32").wait(240)
    command = [sys.executable, "-m", "leym.cli", "--url", service.url, "sweep", "table", sweep.id]
    tsv = subprocess.run(command, capture_output=True, check=True, timeout=240).stdout
    with urllib.request.urlopen(f"{service.url}/v1/sweeps/{sweep.id}/table?format=csv") as answer:
        csv = answer.read()
    frame = sweep.table()
    own = ["index", "id", "state", "step", "steps", "stopped_at", "error"]
    assert list(frame.columns) == [*own, "axis.steps", "grid", "tags.note", *DEFAULT_OBSERVABLES]
    assert frame["steps"].tolist() == frame["axis.steps"].tolist() == [10, 20, 30]
    assert frame["tags.note"].tolist() == notes
    assert frame["grid"].tolist() == ["[8, 8]", "[8, 16]", "[16, 8]"]
    assert frame["activity"].dtype == float
    frame = frame.drop(columns=["stopped_at", "error"])  # empty, and so without a type in a text file
    for text, separator in ((csv, ","), (tsv, "\t")):
        read = pandas.read_csv(io.BytesIO(text), sep=separator).drop(columns=["stopped_at", "error"])
        pandas.testing.assert_frame_equal(read, frame, check_exact=True)
    frame.to_xarray().to_netcdf(service.data / "table.nc")


def test_the_api_stays_small_and_knows_no_torch(tmp_path):
    """In a service of its own, so that the tests before do not decide; it has answered with frames and tables."""
    add_laws(tmp_path)
    up = Service(tmp_path, "--no-flower").start()
    try:
        job = up.client.submit("tiny", (8, 8), 20, {"phase": 5}).wait(240)
        sweep = up.client.sweep("tiny", seed=range(8), grid=(8, 8), steps=20, observe=10).wait(240)
        for number in range(20):  # both processes of the API have answered each
            job.array("phase")
            sweep.save_table(tmp_path / f"{number}.parquet")
        api = [p for p in children(up.process.pid) if b"app.wsgi" in Path(f"/proc/{p}/cmdline").read_bytes()]
        assert len(api) >= 2
        for pid in api:
            assert resident(pid) < 200
            assert "torch" not in Path(f"/proc/{pid}/maps").read_text()
    finally:
        up.stop()


def test_up_uses_the_servers_it_is_given(tmp_path):
    from workers.broker import Broker

    add_laws(tmp_path)
    broker = Broker(tmp_path / "elsewhere")
    child = broker.start(os.environ)
    table = f"sqlite:///{tmp_path / 'other.sqlite'}"
    given = {"LEYM_REDIS_URL": broker.url, "LEYM_DATABASE_URL": table, "LEYM_STORE_URL": (tmp_path / "frames").as_uri()}
    up = Service(tmp_path / "data", "--no-flower", **given)
    shutil.copytree(tmp_path / "laws", up.data / "laws")
    up.start()
    job = up.client.submit("tiny", (16, 16), 20, {"psi": 10}).wait(240)
    assert not any(b"valkey-server" in Path(f"/proc/{p}/cmdline").read_bytes() for p in children(up.process.pid))
    assert (tmp_path / "other.sqlite").exists()
    assert list((tmp_path / "frames" / "jobs" / job.id).iterdir())
    assert not (up.data / "jobs.sqlite").exists()
    assert up.stop() == 0, up.tail()
    child.end(10)


def test_two_services_do_not_share_a_folder(service):
    command = [sys.executable, "-m", "workers.supervisor.up", "--data", str(service.data), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, env=service.env)
    assert second.returncode == 1
    assert "another service runs" in second.stderr


def test_many_clients_follow_many_jobs(service):
    seen: dict[int, list[int]] = {}

    def follow(i: int) -> None:
        job = service.client.submit("tiny", (16, 16), 200, {"psi": 20}, seed=100 + i)
        seen[i] = [frame.step for frame in job.stream()]

    threads = [threading.Thread(target=follow, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {i: list(range(0, 201, 20)) for i in range(12)}
