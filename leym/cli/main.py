"""The `leym` command: submit, watch and fetch jobs of a service, or start one on this machine.

Exit codes: 0 done, 1 a job failed or was cancelled, 2 usage or refused, 3 no service, 130 interrupted.
"""

from __future__ import annotations

from typing import Annotated

import typer

from leym import __version__
from leym.cli import data, fidelity, jobs, laws, sweeps, verify
from leym.cli.become import PASS_ON, become
from leym.cli.output import exits
from leym.client import Client

app = typer.Typer(
    name="leym",
    help="Runs Ley M universes as jobs. LEYM_URL or --url names the service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
jobs.register(app)
data.register(app)
verify.register(app)
app.add_typer(laws.app, name="laws")
app.add_typer(sweeps.app, name="sweep")
app.add_typer(fidelity.app, name="fidelity")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="the service; default: LEYM_URL")] = None,
    token: Annotated[str | None, typer.Option(help="what it asks for; default: LEYM_TOKEN")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """The client is made once and closed when the command ends."""
    with exits(as_json=False):
        context.obj = context.with_resource(Client(url, token=token))


@app.command(context_settings=PASS_ON, add_help_option=False)
def up(context: typer.Context) -> None:
    """Start API, broker and workers on this machine, until Ctrl-C. `leym up --help` lists its options."""
    given = " ".join(context.args).replace("=", " ") + " "
    extras = ("service",) if "--workers 0 " in given else ("service", "worker")  # the workers run elsewhere
    become("workers.supervisor.up", context.args, *extras)


@app.command(context_settings=PASS_ON, add_help_option=False)
def tokens(context: typer.Context) -> None:
    """Create, list and revoke tokens of the service whose data is on this machine; has a --help of its own."""
    become("leym.cli.local.tokens", context.args, "service")


@app.command(context_settings=PASS_ON, add_help_option=False)
def gc(context: typer.Context) -> None:
    """Remove now what expired and what no job needs from the store that LEYM_* name; --dry-run only tells."""
    become("workers.maintenance.collector", context.args, "service")


@app.command(context_settings=PASS_ON, add_help_option=False)
def doctor(context: typer.Context) -> None:
    """Check the job table against the store and the broker that LEYM_* name; --repair puts right what can be."""
    become("workers.maintenance.doctor", context.args, "service")


@app.command(context_settings=PASS_ON, add_help_option=False)
def backup(context: typer.Context) -> None:
    """Copy the service whose data is on this machine, also while it runs; has a --help of its own."""
    become("workers.maintenance.backup", context.args, "service")


@app.command(context_settings=PASS_ON, add_help_option=False)
def bench(context: typer.Context) -> None:
    """How fast this machine runs a law, beside what the machine can do; has a --help of its own."""
    become("leym.engine.benchmark", context.args, "worker")


@app.command(context_settings=PASS_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Start a service of its own, run twelve universes through it, and leave pictures in demo-out/."""
    become("leym.demo", context.args, "service", "worker")


def main() -> None:
    app()
