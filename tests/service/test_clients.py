"""Clients of others against a real service: what is generated from `/openapi.json`, and tools that people have.

`make setup` installs them into tests/clients; what is not there is skipped with its reason. The table of
docs/clients.md says what each can do and what not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.support.browser import dom_of
from tests.support.paths import ROOT
from tests.support.service import Service

HERE = ROOT / "tests" / "clients"
PYTHON, NODE = HERE / ".venv" / "bin", HERE / "node_modules"
LAW = "tiny"


def program(folder: Path, name: str) -> str:
    if not (folder / name).exists():
        pytest.skip(f"no {name} in tests/clients: tests/clients/install.sh installs it (JavaScript where npm is)")
    return str(folder / name)


def python_tool(name: str) -> str:
    return program(PYTHON, name)


def node_tool(name: str) -> str:
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    return program(NODE / ".bin", name)


def run(*command: object, cwd: Path | None = None, **variables: str) -> str:
    """What it prints. A command that fails shows all it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def found_by(*command: object, **variables: str) -> Any:
    """The JSON that a client's program prints in its last line."""
    return json.loads(run(*command, **variables).strip().splitlines()[-1])


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(httpx2.get(f"{service.url}/openapi.json").content)
    return path


@pytest.fixture(scope="module")
def state(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start state of the law as a file."""
    d = service.client.law(LAW)["d_state"]
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("state") / "state.npy"
    np.save(path, (rng.normal(size=(16, 16, d)) + 1j * rng.normal(size=(16, 16, d))).astype(np.complex64))
    return path


def test_the_tables_name_the_versions_that_are_installed():
    table = (ROOT / "docs" / "clients.md").read_text()
    wanted = dict(re.findall(r"^([\w-]+)==(.+)$", (HERE / "requirements.txt").read_text(), re.MULTILINE)[:5])
    wanted["openapi-generator"] = wanted.pop("openapi-generator-cli")
    wanted |= json.loads((HERE / "package.json").read_text())["dependencies"]
    wanted["redocly"] = wanted.pop("@redocly/cli")
    for name in wanted.keys() - {"typescript", "@types/node", "axe-core"}:  # what the others and the page's tests need
        line = next(line for line in table.splitlines() if line.startswith("|") and name in line.lower())
        assert wanted[name] in line, (name, wanted[name], line)


def check(found: dict[str, Any], service: Service, state: Path) -> None:
    """A client uploaded a state, ran a job from it to its end, read its frames, and understood a refusal."""
    uploaded = sha256(state.read_bytes()).hexdigest()
    assert (found["state"], found["fields"], found["refused"]) == ("succeeded", ["phase"], ["/steps"])
    assert found["uploaded"] == uploaded
    assert "event: end" in found.get("events", "event: end")  # as one text, of those that know no streams
    job = service.client.job(found["job"])
    assert job.spec["initial"] == {"kind": "upload", "id": uploaded}
    assert job.spec["gamma"] == 0.01
    steps, phase = job.array("phase")
    assert list(steps) == [0, 10, 20]
    assert phase.shape == (3, 16, 16)
    sent = httpx2.get(f"{service.url}/v1/jobs/{job.id}/frames/phase", params={"format": "npy"}).content
    assert found["frames"] == sha256(sent).hexdigest()


def operations(document: Path) -> set[str]:
    paths = json.loads(document.read_text())["paths"]
    return {operation["operationId"] for path in paths.values() for operation in path.values()}


def test_openapi_python_client_makes_every_operation_and_runs_a_job(service, document, state, tmp_path):
    made = run(
        *(python_tool("openapi-python-client"), "generate", "--path", document, "--meta", "none"),
        *("--output-path", tmp_path / "leym_attrs"),
        PATH=f"{PYTHON}:{os.environ['PATH']}",  # it formats with the ruff beside it
    )
    warnings = re.findall(r"^WARNING (.*)\n+(.*)", made, re.MULTILINE)
    # all are made; there is no body of a zip in what it generates, and no answer that is a picture or an archive
    assert [(of, said.split("(")[-1]) for of, said in warnings] == [
        ("parsing GET /v1/jobs/{id}/export within exports.", "Unsupported content_type application/zip, "
         "application/x-netcdf), response will be omitted from generated client"),
        ("parsing GET /v1/sweeps/{id}/export within exports.", "Unsupported content_type application/zip, "
         "application/x-netcdf), response will be omitted from generated client"),
        ("parsing PUT /v1/laws/{name} within laws.", "Unsupported content type application/zip"),
        ("parsing GET /v1/laws/{name}/preview within laws.", "Unsupported content_type image/webp), response will be "
         "omitted from generated client"),
    ], made  # fmt: skip
    modules = {path.stem for path in (tmp_path / "leym_attrs" / "api").glob("*/*.py")} - {"__init__"}
    assert modules == operations(document)
    check(found_by(PYTHON / "python", HERE / "with_openapi_python_client.py", service.url, LAW, state,
                   PYTHONPATH=str(tmp_path)), service, state)  # fmt: skip


def test_models_of_datamodel_code_generator_run_a_job(service, document, state, tmp_path):
    run(
        *(python_tool("datamodel-codegen"), "--input", document, "--input-file-type", "openapi"),
        *("--output-model-type", "pydantic_v2.BaseModel", "--output", tmp_path / "leym_models.py"),
    )
    check(found_by(PYTHON / "python", HERE / "with_datamodel_codegen.py", service.url, LAW, state,
                   PYTHONPATH=str(tmp_path)), service, state)  # fmt: skip


def test_openapi_generator_makes_every_operation_and_runs_a_job(service, document, state, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("no java on this machine")
    run(
        *(python_tool("openapi-generator-cli"), "generate", "-i", document, "-g", "python"),
        *("-o", tmp_path, "--package-name", "leym_java"),
    )
    made = "".join(path.read_text() for path in (tmp_path / "leym_java" / "api").glob("*.py"))
    assert set(re.findall(r"^    def (\w+)_with_http_info\(", made, re.MULTILINE)) == operations(document)
    check(found_by(PYTHON / "python", HERE / "with_openapi_generator.py", service.url, LAW, state,
                   PYTHONPATH=str(tmp_path)), service, state)  # fmt: skip


@pytest.fixture(scope="module")
def compiled(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both TypeScript programs, their generated clients, and what tsc, with all its checks, made."""
    folder = tmp_path_factory.mktemp("typescript")
    tsc = node_tool("tsc")
    run(node_tool("openapi-typescript"), document, "--output", folder / "schema.d.ts")
    run(node_tool("openapi-ts"), "--input", document, "--output", folder / "hey", "--no-log-file", cwd=folder)
    (folder / "node_modules").symlink_to(NODE)
    for path in (*HERE.glob("*.ts"), HERE / "tsconfig.json"):
        shutil.copy(path, folder)
    run(tsc, "--project", folder, cwd=folder)
    return folder


@pytest.mark.parametrize("name", ["with_openapi_typescript", "with_hey_api"])
def test_a_typescript_client_compiles_and_runs_a_job(service, compiled, state, name):
    check(found_by("node", compiled / f"{name}.js", service.url, LAW, state), service, state)


def test_typescript_types_require_what_the_service_requires(compiled):
    """Keys with a default can be left out, also within a start state and what is observed."""
    made = (compiled / "schema.d.ts").read_text()
    for model, required in (
        ("JobSpec", {"law", "grid", "steps"}),
        ("ComplexNoise", {"kind"}),
        ("Observe", {"every"}),
        ("SweepSpec", {"base", "axes"}),
        ("FidelityRequest", {"precision"}),
        ("LinkRequest", set()),
    ):
        body = re.search(rf"^        {model}: {{\n(.*?)^        }};", made, re.MULTILINE | re.DOTALL)
        assert body, model
        assert set(re.findall(r"^            (\w+):", body[1], re.MULTILINE)) == required, model


def test_redocly_finds_nothing_to_say(document):
    # redocly knows no 101, the only success of a WebSocket; so this looks for the successes of the others itself
    options = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    said = run(node_tool("redocly"), "lint", document, "--skip-rule", "operation-2xx-response", **options)
    for path, operations in json.loads(document.read_text())["paths"].items():
        for operation in operations.values():
            assert any(status.startswith("2") or status == "101" for status in operation["responses"]), path
    assert "Your API description is valid" in said
    assert "warning" not in said.lower().replace("deprecation warning", "")


def test_a_postman_collection_has_every_request_with_a_body_that_is_taken(service, document):
    node_tool("openapi2postmanv2")
    made = found_by("node", HERE / "to_postman.js", document, NODE_PATH=str(NODE))
    assert len(made) == len(operations(document))
    submit = next(r for r in made if (r["method"], r["path"]) == ("POST", "/v1/jobs"))
    job = httpx2.post(f"{service.url}/v1/jobs", json=json.loads(submit["body"])).json()
    service.client.job(job["id"]).cancel()
    assert job["state"] == "queued"
    assert job["law"].startswith("aurora@")


@pytest.fixture(scope="module")
def finished(service: Service) -> str:
    return service.client.submit(LAW, (16, 16), 20, {"phase": 10}, observe=10).wait(240).id


@pytest.mark.parametrize(
    ("folder", "name"), [(NODE, "eventsource"), (PYTHON, "httpx")], ids=["EventSource", "httpx-sse"]
)
def test_a_client_of_events_sees_every_step_and_the_end(service, finished, folder, name):
    program(folder, name)
    if folder is NODE:
        node_tool("tsc")
        command, variables = ["node", HERE / "with_eventsource.mjs"], {}
    else:
        command, variables = [PYTHON / "python", HERE / "with_httpx_sse.py"], {}
    found = found_by(*command, f"{service.url}/v1/jobs/{finished}/events", **variables)
    assert found == {"steps": [0, 10, 20], "end": {"state": "succeeded", "step": 20}}


@pytest.mark.browser
def test_what_swagger_ui_offers_to_send_is_taken(service, tmp_path):
    dom = dom_of(f"{service.url}/docs#/jobs/submit_job", tmp_path, budget_ms=10_000)
    offered = re.search(r"<textarea[^>]*>(.*?)</textarea>", dom, re.DOTALL)
    assert offered, dom[-2000:]
    assert "additionalProp" not in dom, dom[-2000:]
    answer = httpx2.post(f"{service.url}/v1/jobs", json=json.loads(unescape(offered[1])))
    assert answer.status_code == 202, answer.text
    job = service.client.job(answer.json()["id"]).wait(240)
    assert job.state == "succeeded"
    assert job.array("phase")[1].shape == (11, 64, 64)


SPEC = {"law": LAW, "grid": [16, 16], "steps": 20, "record": [{"field": "phase", "every": 10}]}


def sent_by_curl(url: str) -> str:
    return run(
        *("curl", "-sS", "--fail-with-body", url, "-H", "Content-Type: application/json", "-d", json.dumps(SPEC))
    )


def sent_by_wget(url: str) -> str:
    body = f"--body-data={json.dumps(SPEC)}"
    return run("wget", "-qO-", "--method=POST", "--header=Content-Type: application/json", body, url)


def sent_by_httpie(url: str) -> str:
    keys = [f"{key}{'=' if isinstance(value, str) else ':='}{json.dumps(value)}" for key, value in SPEC.items()]
    keys[0] = f"law={LAW}"
    return run(python_tool("http"), "--ignore-stdin", "--check-status", "--body", url, *keys)


@pytest.mark.parametrize(
    ("tool", "send", "get"),
    [
        ("curl", sent_by_curl, ["curl", "-sS", "--fail", "-OJ"]),
        ("wget", sent_by_wget, ["wget", "-q", "--content-disposition"]),
        ("http", sent_by_httpie, ["http", "--ignore-stdin", "--check-status", "--download", "--output={name}"]),
    ],
    ids=["curl", "wget", "HTTPie"],
)
def test_a_command_line_tool_submits_a_job_and_saves_its_frames(service, tmp_path, tool, send, get):
    command = [python_tool(tool), *get[1:]] if tool == "http" else get
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {tool} on this machine")
    job = service.client.job(json.loads(send(f"{service.url}/v1/jobs"))["id"]).wait(240)
    name = f"{job.id}-phase.npy"
    command = [part.format(name=name) for part in command]
    run(*command, f"{service.url}/v1/jobs/{job.id}/frames/phase?format=npy", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (np.load(tmp_path / name) == job.array("phase")[1]).all()
