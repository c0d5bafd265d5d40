"""Puts the tools and the documents together into an MCP server, and turns errors into sentences for the model."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

import leym
from leym.client.errors import LeymError, ProblemError
from leym.contract.catalog import FIELDS, OBSERVABLES, FieldInfo, ObservableInfo
from leym.contract.spec import JobSpec
from leym.contract.sweeps import SweepSpec
from leym.mcp.reading import Reading
from leym.mcp.service import Service
from leym.mcp.submitting import Submitting
from leym.mcp.verifying import Verifying

INSTRUCTIONS = """\
Runs universes: grids of complex cells whose physics is a small neural network, the law. A job runs one universe, a
sweep many that differ in a few keys. Begin with `laws`. Submit with `record` and `observe`, wait with `status`, look
with `picture`, `observables` and `table`. `fork` and `extend` go on from kept states, `intervene` steers while a job
runs, `verify` runs it again and compares the bits. Each submission is quoted first; `budget` in an answer says what
is left. The resources leym://jobspec, leym://sweepspec and leym://fields describe all keys, fields and observables.
"""

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


def make_server(service: Service) -> MCPServer:
    """Make an MCP server whose tools use a service."""
    server = MCPServer("leym", title="Ley M", instructions=INSTRUCTIONS, version=leym.__version__, log_level="WARNING")
    reading, submitting = Reading(service), Submitting(service)
    found: list[tuple[Callable[..., Any], ToolAnnotations]] = [
        *((tool, READS) for tool in (reading.laws, submitting.quote)),
        *((tool, ADDS) for tool in (submitting.submit, submitting.sweep, submitting.extend, submitting.fork)),
        *((tool, READS) for tool in (reading.status, reading.picture, reading.observables, reading.table)),
        *((tool, READS) for tool in (reading.jobs, reading.states, reading.lineage, reading.queue)),
        *((tool, CHANGES) for tool in (submitting.intervene, submitting.cancel)),
        (Verifying(service).verify, ADDS),
    ]
    for tool, hints in found:
        structured = False if tool.__name__ == "picture" else None  # pictures are content of their own
        server.add_tool(_readable(tool), annotations=hints, structured_output=structured)
    _add_documents(server)
    return server


def _readable(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return a tool whose expected failures are sentences; other exceptions stay defects, with a traceback."""

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except ProblemError as error:
            raise ToolError(_sentences(error)) from error
        except (LeymError, ValueError, httpx2.TransportError) as error:
            raise ToolError(str(error) or type(error).__name__) from error

    return call


def _sentences(error: ProblemError) -> str:
    """Return a problem with the keys that it is about, one on a line."""
    lines = [str(error)]
    for one in error.errors:
        if one.get("detail") not in (None, error.detail):
            lines.append(f"{one.get('pointer') or '/'}: {one['detail']}")
    return "\n".join(lines)


def _add_documents(server: MCPServer) -> None:
    """Add the resources that describe specs, fields and observables."""

    @server.resource("leym://jobspec", title="JSON Schema of a JobSpec", mime_type="application/json")
    def jobspec() -> str:
        return json.dumps(JobSpec.model_json_schema())

    @server.resource("leym://sweepspec", title="JSON Schema of a SweepSpec", mime_type="application/json")
    def sweepspec() -> str:
        return json.dumps(SweepSpec.model_json_schema())

    @server.resource("leym://fields", title="Fields and observables, with their formulas", mime_type="application/json")
    def fields() -> str:
        return json.dumps({"fields": _described(FIELDS), "observables": _described(OBSERVABLES)})


def _described(table: Mapping[str, FieldInfo] | Mapping[str, ObservableInfo]) -> dict[str, dict[str, str]]:
    return {name: {"formula": one.formula, "units": one.units} for name, one in table.items()}
