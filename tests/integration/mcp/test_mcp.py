"""The MCP server, spoken to by the official client, in front of the real API; a worker only pretends."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import numpy as np
import pytest
from mcp import Client as McpClient
from PIL import Image

from leym.client.http import Http
from leym.contract.records import Worker
from leym.mcp.budget import Budget
from leym.mcp.server import make_server
from leym.mcp.service import Service
from tests.support.api import SPEC, Api, bearer, done, reachable, run_blocks

WORK = 8 * 12 * 30  # cell-steps of a job with SPEC
SWEEP = {
    "base": {key: SPEC[key] for key in ("law", "grid", "steps")} | {"observe": {"every": 10, "names": ["coherence"]}},
    "axes": {"gamma": [0.0, 0.01], "seed": {"start": 0, "count": 4}},
}


@pytest.fixture
def api(tmp_path) -> Iterator[Api]:
    with reachable(tmp_path) as found:
        yield found


class Tools:
    """Calls tools of one server; a refusal is an AssertionError unless it is asked for."""

    def __init__(self, client: McpClient):
        self.client = client

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        found: dict[str, Any] = result.structured_content
        assert json.loads(result.content[0].text) == found
        return found

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        return str(result.content[0].text)


def talk(
    api: Api, say: Callable[[Tools], Awaitable[None]], budget: str | None = None, headers: dict[str, str] | None = None
) -> None:
    async def session() -> None:
        service = Service(Http(api.url, headers=headers), None if budget is None else Budget.parse(budget))
        async with McpClient(make_server(service)) as client:
            await say(Tools(client))

    anyio.run(session)


def test_every_tool_and_every_argument_is_described(api):
    async def say(tools):
        listed = (await tools.client.list_tools()).tools
        assert {tool.name for tool in listed} == {
            *("laws", "quote", "submit", "sweep", "extend", "fork", "intervene", "cancel", "verify"),
            *("status", "picture", "observables", "table", "jobs", "states", "lineage", "queue"),
        }
        for tool in listed:
            assert len(tool.description) > 40, tool.name
            assert tool.annotations.open_world_hint is False, tool.name
            for name, schema in tool.input_schema["properties"].items():
                assert {"type", "anyOf", "$ref", "enum", "oneOf"} & set(schema), (tool.name, name)
        reading = {tool.name for tool in listed if tool.annotations.read_only_hint}
        assert not reading & {"submit", "sweep", "extend", "fork", "intervene", "cancel", "verify"}
        for uri in ("leym://jobspec", "leym://sweepspec", "leym://fields"):
            contents = (await tools.client.read_resource(uri)).contents
            assert json.loads(contents[0].text)

    talk(api, say)


def test_each_submission_is_quoted_and_counts_against_the_budget(api):
    async def say(tools):
        universe = {key: SPEC[key] for key in ("law", "grid", "steps", "record", "observe")}
        quoted = await tools("quote", universe=universe)
        assert (quoted["cell_steps"], quoted["budget"]["left"]) == (WORK, 3 * WORK)
        made = await tools("submit", universe=universe, idempotency_key="first")
        assert made["quote"]["cell_steps"] == WORK
        assert made["budget"] == {"unit": "cell-steps", "total": 3 * WORK, "left": 2 * WORK}
        assert api.table.get(made["id"]).spec["record"] == api.table.get(api.submit()).spec["record"]
        again = await tools("submit", universe=universe, idempotency_key="first")
        assert (again["id"], again["budget"]["left"]) == (made["id"], 2 * WORK)
        why = await tools.refused("sweep", sweep=SWEEP)
        assert f"takes {8 * WORK} cell-steps, and {2 * WORK} of the budget of {3 * WORK} are left" in why
        assert "nothing was submitted" in why
        assert api.http.get("/v1/sweeps").json["items"] == []
        why = await tools.refused("submit", universe=universe | {"gamma": 99})
        assert "gamma" in why
        why = await tools.refused("submit", universe=universe | {"nonsense": 3})
        assert "422 Invalid request: job.nonsense = 3: there is no such key" in why
        small = SWEEP | {"axes": {"seed": {"start": 0, "count": 2}}}
        assert (await tools("sweep", sweep=small))["budget"]["left"] == 0

    talk(api, say, budget=f"{3 * WORK} cell-steps")


def test_a_budget_in_device_seconds_refuses_what_nobody_can_price(api):
    async def say(tools):
        universe = {key: SPEC[key] for key in ("law", "grid", "steps")}
        why = await tools.refused("submit", universe=universe)
        assert "no similar job has succeeded yet" in why
        assert api.http.get("/v1/jobs").json["items"] == []

    talk(api, say, budget="10 device-seconds")


def test_a_refused_submission_costs_nothing(api):
    """The quote is fine; the job is refused: its key was used with another body."""

    async def say(tools):
        universe = {key: SPEC[key] for key in ("law", "grid", "steps")}
        await tools("submit", universe=universe, idempotency_key="k")
        why = await tools.refused("submit", universe=universe | {"seed": 5}, idempotency_key="k")
        assert "used before, for a request with another body" in why
        assert (await tools("queue"))["budget"]["left"] == 9 * WORK

    talk(api, say, budget=f"{10 * WORK} cell-steps")


def test_a_picture_is_the_frame_at_its_step(api):
    job = done(api)

    async def say(tools):
        result = await tools.client.call_tool("picture", {"job": job, "field": "phase", "step": 27})
        assert not result.is_error, result.content
        shown, image = json.loads(result.content[0].text), result.content[1]
        assert (shown["step"], shown["grid"], image.mime_type) == (27, [8, 12], "image/png")
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.data))).convert("RGB"))
        drawn = api.http.get(f"/v1/jobs/{job}/frames/phase?format=png&start=27&stop=28&scale=1").data
        scale = picture.shape[0] // 8
        assert picture.shape == (8 * scale, 12 * scale, 3)
        assert np.array_equal(picture[::scale, ::scale], np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")))
        last = await tools.client.call_tool("picture", {"job": job, "field": "channel_power", "channel": 1})
        assert json.loads(last.content[0].text)["step"] == 30
        why = await tools.refused("picture", job=job, field="phase", step=4)
        assert "every 3. step" in why
        assert "it records phase, channel_power, psi" in await tools.refused("picture", job=job, field="rgb")

    talk(api, say)


def test_observables_are_thinned_and_tables_are_bounded(api):
    job, sweep = done(api), api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    run_blocks(api, sweep)

    async def say(tools):
        found = await tools("observables", job=job, names=["activity"], rows=5)
        assert (found["observed"], found["every_nth"]) == (16, 4)
        assert found["columns"]["step"] == [0, 8, 16, 24]
        assert set(found["columns"]) == {"step", "activity"}
        table = await tools("table", sweep=sweep, rows=3)
        assert ([row["index"] for row in table["rows"]], table["more"]) == ([0, 1, 2], True)
        table = await tools("table", sweep=sweep, filter=["state=succeeded", "gamma>0"], sort="coherence")
        assert ([row["seed"] for row in table["rows"]], table["more"]) == ([0, 2], False)
        table = await tools("table", sweep=sweep, aggregate=["mean", "count"], value=["coherence"])
        assert [row["gamma"] for row in table["rows"]] == [0.0, 0.01]
        assert "nonsense" in await tools.refused("table", sweep=sweep, sort="nonsense")
        assert (await tools("status", sweep=sweep))["counts"]["failed"] == 4

    talk(api, say)


def test_extensions_and_forks_cost_the_steps_that_they_add(api):
    job = done(api)

    async def say(tools):
        assert [state["step"] for state in (await tools("states", job=job))["items"]] == [0, 10, 20, 30]
        made = await tools("fork", job=job, step=20, changes={"gamma": 0.05, "steps": 50})
        assert made["differs"]["gamma"] == [0.01, 0.05]
        assert made["quote"]["cell_steps"] == 8 * 12 * 30
        why = await tools.refused("fork", job=job, step=7)
        assert "step" in why
        assert "7" in why
        shown = await tools("lineage", job=made["id"])
        assert [one["relation"] for one in shown["items"]] == ["ancestor", "self"]
        steered = await tools("intervene", job=made["id"], kind="vortex", change={"y": 4, "x": 6, "radius": 2}, step=40)
        assert steered["state"] == "waiting"
        assert "radius" in await tools.refused("intervene", job=made["id"], kind="vortex", change={"y": 4, "x": 6})
        assert (await tools("cancel", job=made["id"]))["state"] == "cancelled"

    talk(api, say, budget="1e6 cell-steps")


def test_the_token_bounds_what_the_tools_may_do(api):
    header = bearer(api.table, scopes=("read",))
    api.table.heartbeat(Worker(name="w", host="h", pid=1, device="cpu", state="ready", slots=2))

    async def say(tools):
        assert (await tools("queue"))["workers"][0]["slots"] == 2
        assert "aurora" in {law["name"] for law in (await tools("laws"))["items"]}
        verdicts = {one["precision"]: one["verdict"] for one in (await tools("laws", name="aurora"))["verdicts"]}
        assert verdicts == {"nf4": "pass", "int8": "fail", "bf16": "pass"}
        why = await tools.refused("submit", universe={"law": "aurora", "grid": [8, 8], "steps": 5})
        assert "403" in why
        assert "submit" in why

    talk(api, say, headers=header)


def test_a_lost_service_is_an_answer_that_can_be_read(tmp_path):
    with reachable(tmp_path) as api:
        pass

    async def say(tools):
        assert "no answer from" in await tools.refused("laws")
        assert "no id" in await tools.refused("status", job="..")
        assert "one of job and sweep" in await tools.refused("status")

    talk(api, say)
