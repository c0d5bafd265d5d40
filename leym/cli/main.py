"""The `leym` command: submit, watch and fetch jobs of a service, or start a service on this machine.

Exit codes: 0 done, 1 a job failed or was cancelled, 2 wrong usage or refused, 3 no service, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import leym
from leym.cli import (
    data,
    fidelity,
    jobs,
    keeping,
    laws,
    lineage,
    steering,
    sweeps,
    training,
    verify,
    viewing,
    watching,
)
from leym.cli.lazy import LazyCommand, LazyGroup

if TYPE_CHECKING:
    from leym.client import Client


class Up(LazyCommand):
    """`leym up`, which needs no torch when its workers run elsewhere."""

    def extras_for(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the extras that the command needs with these arguments."""
        given = " ".join(arguments).replace("=", " ") + " "
        return ("service",) if "--workers 0 " in given else self.extras


class Root(LazyGroup):
    """The commands of `leym` that are imported when they are called."""

    lazy = {
        "up": Up(
            "workers.supervisor.up",
            "Start API, broker and workers on this machine, until Ctrl-C.",
            ("service", "worker"),
        ),
        "tokens": LazyCommand(
            "leym.cli.local.tokens",
            "Create, list and revoke tokens of the service whose data is on this machine.",
            ("service",),
        ),
        "gc": LazyCommand(
            "workers.maintenance.collector",
            "Remove expired results and objects that no job needs from the store; --dry-run only reports them.",
            ("service",),
        ),
        "doctor": LazyCommand(
            "workers.maintenance.doctor",
            "Check the job table against the store, the laws and the broker; --repair repairs what it can.",
            ("service",),
        ),
        "backup": LazyCommand(
            "workers.maintenance.backup",
            "Copy the service whose data is on this machine, also while it runs.",
            ("service",),
        ),
        "train": LazyCommand(
            "leym.cli.local.train",
            "Train a law by a recipe on this machine: a known model, a picture or statistics to learn.",
            ("worker",),
        ),
        "bench": LazyCommand(
            "leym.cli.local.bench",
            "Measure how fast this machine runs a law, and compare it with what the machine can do.",
            ("worker",),
        ),
        "mcp": LazyCommand(
            "leym.cli.local.mcp",
            "Serve an MCP server: the service as tools for a language model, within a budget.",
            ("mcp",),
        ),
        "demo": LazyCommand(
            "leym.cli.local.demo",
            "Start a service of its own, run twelve universes through it, and save pictures in demo-out/.",
            ("service", "worker"),
        ),
    }


app = typer.Typer(
    name="leym",
    cls=Root,
    help="Run Ley M universes as jobs. LEYM_URL or --url names the service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
jobs.register(app)
steering.register(app)
data.register(app)
lineage.register(app)
verify.register(app)
keeping.register(app)
viewing.register(app)
watching.register(app)
app.add_typer(laws.app, name="laws")
app.add_typer(sweeps.app, name="sweep")
app.add_typer(fidelity.app, name="fidelity")
app.add_typer(training.app, name="training")


def _version(wanted: bool) -> None:
    if wanted:
        print(leym.__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="address of the service; default: LEYM_URL")] = None,
    token: Annotated[str | None, typer.Option(help="token of the service; default: LEYM_TOKEN")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Name the service that all commands use."""
    context.obj = ClientWhenUsed(url, token)
    context.call_on_close(context.obj.close_if_made)


class ClientWhenUsed:
    """Stands for the client until a command uses it: a help text is shown faster than the SDK is imported."""

    def __init__(self, url: str | None, token: str | None):
        self._given = url, token
        self._made: Client | None = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            from leym.client import Client

            url, token = self._given
            self._made = Client(url, token=token)
        return getattr(self._made, name)

    def close_if_made(self) -> None:
        """Close the connections, if there are any."""
        if self._made is not None:
            self._made.close()


def main() -> None:
    """Run the command line of this process."""
    _leave_out_starting_folder()
    app()


def _leave_out_starting_folder() -> None:
    """Remove the folder that Python puts first on the path: the current one, or the one of the `leym` script.

    A folder `workers` that happens to be there must not be imported in place of ours. `python -P` does the same.
    """
    home = Path(leym.__file__).parents[1]
    if not sys.flags.safe_path and sys.path and Path(sys.path[0]).absolute() != home:
        del sys.path[0]
