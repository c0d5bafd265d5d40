"""`leym mcp` as a client starts it: over stdio and over HTTP, with the official client, on a real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import anyio
from mcp import Client as McpClient
from mcp import StdioServerParameters, stdio_client

UNIVERSE = {
    "law": "tiny", "grid": [16, 16], "steps": 60, "seed": 5, "record": [{"field": "phase", "every": 20}],
    "observe": {"every": 20, "names": ["activity"]}, "keep_states": {"every": 30},
}  # fmt: skip
WORK = 16 * 16 * 60


def command(service, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "leym.cli", "--url", service.url, "mcp", *arguments]


async def told(client: McpClient, tool: str, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def ended(client: McpClient, **which: str):
    while (found := await told(client, "status", **which, wait_s=20))["state"] in ("queued", "running"):
        pass
    return found


def test_a_model_runs_looks_forks_sweeps_and_verifies_within_its_budget(service):
    async def session() -> None:
        program, *arguments = command(service, "--budget", f"{5 * WORK} cell-steps")
        server = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        async with McpClient(stdio_client(server)) as client:
            assert "tiny" in {law["name"] for law in (await told(client, "laws"))["items"]}
            made = await told(client, "submit", universe=UNIVERSE)
            assert (await ended(client, job=made["id"]))["state"] == "succeeded"
            picture = await client.call_tool("picture", {"job": made["id"], "field": "phase"})
            assert [part.type for part in picture.content] == ["text", "image"]
            assert json.loads(picture.content[0].text)["step"] == 60
            numbers = await told(client, "observables", job=made["id"])
            assert numbers["columns"]["step"] == [0, 20, 40, 60]
            longer = await told(client, "extend", job=made["id"], steps=90)
            forked = await told(client, "fork", job=made["id"], step=30, changes={"gamma": 0.05})
            assert longer["quote"]["cell_steps"] == forked["quote"]["cell_steps"] == WORK // 2
            axes = {"seed": {"start": 0, "count": 2}}
            base = {key: UNIVERSE[key] for key in ("law", "grid", "steps", "observe")}
            sweep = await told(client, "sweep", sweep={"base": base, "axes": axes})
            assert sweep["budget"]["left"] == WORK
            assert (await ended(client, sweep=sweep["id"]))["state"] == "succeeded"
            table = await told(client, "table", sweep=sweep["id"], aggregate=["mean"])
            assert table["rows"][0]["activity.mean"] > 0
            found = await told(client, "verify", job=made["id"])
            while found["state"] in ("queued", "running"):
                found = await told(client, "verify", job=made["id"], again=found["again"])
            assert found["identical"] is True
            assert {one["name"] for one in found["arrays"]} == {"phase", "activity"}
            assert found["budget"]["left"] == 0
            refused = await client.call_tool("submit", {"universe": UNIVERSE})
            assert refused.is_error
            assert "0 of the budget" in refused.content[0].text

    anyio.run(session)


@contextmanager
def served(service):
    process = subprocess.Popen(command(service, "--http", "0"), stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert line.startswith("ready http://127.0.0.1:"), line
        yield line.split()[1]
    finally:
        process.terminate()
        process.wait(60)


def test_the_same_tools_are_served_over_http_on_this_machine(service):
    async def session(url: str) -> None:
        async with McpClient(url) as client:
            assert (await told(client, "queue"))["workers"]
            quoted = await told(client, "quote", universe=UNIVERSE)
            assert (quoted["cell_steps"], "budget" in quoted) == (WORK, False)

    with served(service) as url:
        anyio.run(session, url)
