"""One `leym up` under hard conditions: a folder with every character in its name, and a proxy in the environment.

Its output, its reports when no worker takes jobs, and the remote control of its worker.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
import yaml

from leym import tickets
from leym.settings import Settings
from tests.support.browser import dom_with
from tests.support.paths import CHROMIUM, ROOT
from tests.support.service import Service, add_laws, until
from workers.broker import url_of
from workers.controls import REFUSED

FOLDER = 'it\'s a "folder" q?x=1#h %25 [ab]* ü$HOME\\\n-'
PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:1")


@pytest.fixture(scope="module")
def proxies():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PROXIES.items():
            patch.setenv(name, value)
        for name in ("no_proxy", "NO_PROXY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def up(tmp_path_factory, proxies):
    data = tmp_path_factory.mktemp("up") / FOLDER
    add_laws(data)
    running = Service(data, verbose=False).start()
    yield running
    assert running.stop() == 0, running.tail()


@pytest.fixture(scope="module")
def flower(up):
    found = re.search(r"Flower is at (http://\S+)", up.log.read_text())[1]
    until(
        lambda: ask(f"{found}/api/workers?refresh=1")[1].strip() not in ("", "{}"), what="Flower has found the worker"
    )
    return found


def ask(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    """Send a request without a proxy: the service is tested, not urllib."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, body, method=method), timeout=240) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def leym(up: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leym.cli", *arguments]
    env = up.env | {"LEYM_DATA": str(up.data), "LEYM_URL": up.url}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)


def test_a_service_comes_up_in_any_folder_and_behind_any_proxy_and_keeps_its_files_there(up, tmp_path):
    job = up.client.submit("tiny", (8, 8), 20, {"phase": 5}).wait(240)
    assert job.array("phase")[1].shape == (5, 8, 8)
    assert [path.name for path in up.data.parent.iterdir()] == [FOLDER]
    assert {"jobs.sqlite", "store", "valkey", "laws"} <= {path.name for path in up.data.iterdir()}
    assert {"appendonlydir", "password", "valkey.conf", "valkey.log"} <= {
        p.name for p in (up.data / "valkey").iterdir()
    }
    assert list((up.data / "store" / "jobs").iterdir())
    copy = tmp_path / FOLDER
    assert leym(up, "backup", str(copy)).returncode == 0
    assert (copy / "store" / "jobs").is_dir()


def test_the_command_line_reaches_a_service_on_loopback_past_a_proxy(up):
    done = leym(up, "jobs")
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout, done.stderr


def test_it_prints_its_addresses_and_no_output_of_its_children(up):
    """It prints the addresses of API and Flower, the folder, a warning about tokens, and `ready` on standard output."""
    lines = up.log.read_text().partition("ending:")[0].splitlines()
    output = "\n".join(lines)
    assert f"the API is at {up.url}" in output
    assert "Flower is at http://127.0.0.1:" in output
    assert "it's a" in output, output
    assert "there are no tokens" in output, output
    assert len(lines) <= 6, output
    assert up.said == f"ready {up.url}\n"


def test_it_announces_itself_as_json(tmp_path):
    command = [sys.executable, "-m", "leym.cli", "up", "--json", "--port", "0", "--workers", "0", "--no-flower"]
    with subprocess.Popen([*command, "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        said = json.loads(process.stdout.readline())
        try:
            assert said == {"url": said["url"], "data": str(tmp_path), "flower": None}
            assert ask(f"{said['url']}/readyz")[0] == 200
        finally:
            process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_services_that_start_together_have_a_flower_each(tmp_path):
    command = [sys.executable, "-m", "leym.cli", "up", "--json", "--port", "0", "--workers", "0", "--data"]
    started = [subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE, text=True) for name in "ab"]
    try:
        flowers = [json.loads(process.stdout.readline())["flower"] for process in started]
        assert flowers[0] != flowers[1]
        brokers = []
        for flower, name in zip(flowers, "ab", strict=True):
            until(lambda flower=flower: ask(f"{flower}/healthcheck")[0] == 200, what="Flower answers")
            port = urlsplit(url_of(tmp_path / name / "valkey")).port
            brokers.append(f":{port}" in ask(f"{flower}/broker")[1])
        assert brokers == [True, True]
    finally:
        for process in started:
            process.terminate()
            process.stdout.close()
            process.wait(240)


@pytest.mark.parametrize("control", REFUSED)
def test_a_control_that_does_nothing_says_so_in_one_line(control, up):
    of_task = {"task_name": tickets.TASK}
    given = {"time_limit": of_task | {"soft": 1}, "rate_limit": of_task | {"rate_limit": "1/m"}}
    given |= {"autoscale": {"max": 3, "min": 1}}
    app = tickets.make_app(Settings(redis_url=url_of(up.data / "valkey")))
    [answer] = app.control.broadcast(control, arguments=given.get(control, {}), reply=True, timeout=240, limit=1)
    [(_, reply)] = answer.items()
    assert reply["error"].startswith(f"{control} does nothing here: ")
    assert "\n" not in reply["error"]


@pytest.mark.parametrize("path", ["pool/grow/WORKER?n=1", "pool/shrink/WORKER", "pool/autoscale/WORKER?min=1&max=2"])
def test_flower_passes_the_reason_on(path, up, flower):
    [worker] = json.loads(ask(f"{flower}/api/workers")[1])
    status, answer = ask(f"{flower}/api/worker/{path.replace('WORKER', worker)}", "POST", b"")
    assert status == 403
    assert "does nothing here: a worker has LEYM_SLOTS slots" in answer
    assert "Traceback" not in answer


@pytest.mark.parametrize("how", ["apply", "async-apply", "send-task"])
def test_flower_starts_no_task(how, flower):
    status, answer = ask(f"{flower}/api/task/{how}/leym.simulate", "POST", b'{"args": ["x"]}')
    assert status == 403
    assert answer.startswith("a task without a row in the job table does nothing here: ")
    assert answer.count("\n") == 1


def test_the_names_of_tasks_in_flowers_metrics_are_few_whatever_is_submitted(up, flower):
    for steps in (11, 12, 13):
        up.client.submit("tiny", (8, 8), steps).wait(240)
    shown = re.compile(r'flower_events_total\{task="([^"]*)",type="task-succeeded"')
    until(lambda: shown.search(ask(f"{flower}/metrics")[1]), what="Flower has counted")
    assert set(re.findall(r'task="([^"]*)"', ask(f"{flower}/metrics")[1])) == {"leym.simulate"}


def test_a_worker_whose_fetching_was_stopped_is_reported_as_paused_everywhere(up, flower, tmp_path):
    [worker] = json.loads(ask(f"{flower}/api/workers")[1])
    status, answer = ask(f"{flower}/api/worker/queue/cancel-consumer/{worker}?queue=other", "POST", b"")
    assert status == 403
    assert "queue = 'other'" in answer
    assert ask(f"{flower}/api/worker/queue/cancel-consumer/{worker}?queue=leym", "POST", b"")[0] == 200
    until(lambda: up.client.workers()[0]["state"] == "paused", what="its heartbeat says so")
    job = up.client.submit("tiny", (8, 8), 20)
    checks = json.loads(ask(f"{up.url}/readyz")[1])["checks"]
    assert checks["workers"] == "0, 1 paused"
    found = leym(up, "doctor")
    assert found.returncode == 0, found.stdout
    assert re.search(r"^workers +note +1 paused; 1 jobs wait$", found.stdout, re.M), found.stdout
    assert "1 jobs wait and no worker takes them" in found.stdout
    if CHROMIUM:
        waits = "its workers are paused: 1 waits"
        dom = dom_with([waits], up.url, tmp_path, "--no-proxy-server")
        assert waits in dom
        assert f'<a href="{flower}">Flower</a>' in dom
    assert ask(f"{flower}/api/worker/queue/add-consumer/{worker}?queue=leym", "POST", b"")[0] == 200
    assert job.wait(240).state == "succeeded"
    until(lambda: json.loads(ask(f"{up.url}/readyz")[1])["checks"]["workers"] == "1", what="it is ready again")
    assert re.search(r"^workers +ok +1 ready; 0 jobs wait$", leym(up, "doctor").stdout, re.M)


HEALTH = {
    "api": ("http://127.0.0.1:8000", lambda up, flower: up.url),
    "flower": ("http://127.0.0.1:5555", lambda up, flower: flower),
}


@pytest.mark.parametrize("name", HEALTH)
def test_health_checks_of_containers_go_past_a_proxy(name, up, flower):
    """Docker sets the proxies of its configuration in every container."""
    address, here = HEALTH[name]
    [_, python, *arguments] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name][
        "healthcheck"
    ]["test"]
    assert python == "python"
    assert any(address in argument for argument in arguments)
    command = [argument.replace(address, here(up, flower)) for argument in arguments]
    subprocess.run([sys.executable, *command], check=True, timeout=240, env=up.env)
