"""`leym mcp`: an MCP server for the service, over stdin and stdout or on a port of this machine."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from leym.cli.output import exits, note
from leym.client import Client
from leym.mcp.budget import UNITS, Budget
from leym.mcp.server import make_server
from leym.mcp.service import Service

app = typer.Typer(add_completion=False)
PATH = "/mcp"


@app.command()
def run(
    context: typer.Context,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="'AMOUNT UNIT'",
            help=f"most work that may be submitted until the server ends, such as '1e9 cell-steps'; units: "
            f"{', '.join(UNITS)}",
        ),
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="serve streamable HTTP on this loopback port; 0: a free one"
        ),
    ] = None,
) -> None:
    """Serve the tools of an MCP server: quote, submit, sweep, picture, table and more.

    LEYM_URL and LEYM_TOKEN (or --url and --token before `mcp`) name the service and what may be done there.
    """
    with exits(as_json=False):
        client: Client = context.obj
        server = make_server(Service(client._http, None if budget is None else Budget.parse(budget)))
        if http is None:
            server.run("stdio")
            return
        import uvicorn

        with socket.create_server(("127.0.0.1", http)) as listening:
            port = listening.getsockname()[1]
            note(f"ready http://127.0.0.1:{port}{PATH}")
            web = server.streamable_http_app(streamable_http_path=PATH, host="127.0.0.1")
            uvicorn.Server(uvicorn.Config(web, log_level="warning")).run(sockets=[listening])
