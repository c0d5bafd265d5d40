"""`leym sweep`: one law over many points; run, watch and steer sweeps, and get their tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.completion import SweepId, laws
from leym.cli.jobs import (
    Gamma,
    Grid,
    InitialText,
    Json,
    KeepStates,
    ObserveText,
    PrecisionName,
    Priority,
    Record,
    Seed,
    SpecFile,
    Steps,
    Tags,
    note_inheritance,
    source_of,
    spec_of,
)
from leym.cli.output import FAILED, age, exits, note, write_json, write_table
from leym.cli.viewing import Channel, FieldName, Fps, Frames, Scale, Start, Stop, ViewOut, save
from leym.common.files import STDOUT

if TYPE_CHECKING:
    from leym.client import Client, Sweep

app = typer.Typer(help="Run one job for many values of its keys.", no_args_is_help=True)
Axes = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        "-a",
        help="values of a key: KEY=VALUE,VALUE,…, KEY=FIRST..LAST or 'KEY=linspace(A,B,N)', repeatable",
    ),
]
Zipped = Annotated[bool, typer.Option("--zip", help="take the axes side by side instead of every combination")]
SampleText = Annotated[
    str | None,
    typer.Option("--sample", help="draw the points: latin_hypercube:COUNT or random:COUNT, and :SEED after it"),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="show the progress until all members have ended")]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help="only members with NAME=VALUE, NAME!=VALUE or NAME<NUMBER, repeatable"),
]

Window = Annotated[
    str | None, typer.Option(help="FIRST:LAST step: observables are means over these steps, not the last values")
]


@app.command()
def run(
    context: typer.Context,
    law: Annotated[str | None, typer.Argument(help="name or name@digest", autocompletion=laws)] = None,
    axis: Axes = None,
    zipped: Zipped = False,
    sample: SampleText = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="end a member early: frozen, collapsed, non_finite, cycle or NAME<NUMBER, and :RECORDINGS after it,"
            " repeatable"
        ),
    ] = None,
    grid: Grid = None,
    steps: Steps = None,
    record: Record = None,
    observe: ObserveText = None,
    seed: Seed = None,
    gamma: Gamma = None,
    initial: InitialText = None,
    precision: PrecisionName = None,
    priority: Priority = None,
    tag: Tags = None,
    keep_states: KeepStates = None,
    spec: SpecFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="submit nothing; print what the sweep would need")] = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Queue one member per point and print the id of the sweep."""
    client: Client = context.obj
    with exits(as_json):
        if not axis:
            raise ValueError("a sweep needs at least one --axis, e.g. --axis seed=0..9")
        base = spec_of(
            client, law, spec, grid=grid, steps=steps, record=record, observe=observe, seed=seed, gamma=gamma,
            initial=initial, precision=precision, priority=priority, tag=tag, keep_states=keep_states,
        )  # fmt: skip
        axes, source = specs.axes(axis), source_of(base)
        from leym.client.axes import sweep_request

        rules = specs.stop_rules(stop or [])
        body = sweep_request(client._body, None, axes, _mode(zipped, sample), rules, base)
        if dry_run:
            _print_facts(client._estimate(body), as_json)
            return
        found = client.job(source) if source else None
        sweep = client._sweep(body, None)
        if found:
            note_inheritance(found, base, next(sweep.jobs()), varied=axes)
        if not as_json:
            print(sweep.id, flush=True)
        if watch:
            sweep.wait(progress=True)
    if as_json:
        write_json(sweep.as_dict())
    if watch and sweep.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command()
def add(
    context: typer.Context,
    id: SweepId,
    axis: Axes = None,
    zipped: Zipped = False,
    sample: SampleText = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="add nothing; print what the members would need")] = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Add members to a sweep, with further values for each of its axes, and print their indices."""
    with exits(as_json):
        if not axis:
            raise ValueError("members need an --axis for each axis of the sweep, e.g. --axis seed=10..19")
        axes, mode, sweep = specs.axes(axis), _mode(zipped, sample), context.obj.get_sweep(id)
        if dry_run:
            _print_facts(sweep.estimate_add(axes, mode), as_json)
            return
        members = sweep.add(axes, mode)
        if not as_json:
            print(f"{members.start}..{members.stop - 1}", flush=True)
        if watch:
            sweep.wait(progress=True)
    if as_json:
        write_json(sweep.as_dict() | {"members": {"first": members.start, "size": len(members)}})
    if watch and sweep.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command("list")
def list_sweeps(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="number of sweeps at most")] = 20,
    as_json: Json = False,
) -> None:
    """List sweeps, newest first."""
    with exits(as_json):
        found = list(context.obj.sweeps(limit))
    if as_json:
        write_json([sweep.as_dict() for sweep in found])
        return
    rows = ((s.id, s.state, f"{s.step}/{s.size}", ",".join(s.axes), age(s.as_dict().get("created_at"))) for s in found)
    write_table(("id", "state", "members", "axes", "age"), rows)


@app.command("show", hidden=True)  # its name in version 0.1.0
@app.command()
def status(context: typer.Context, id: SweepId, watch: Watch = False, as_json: Json = False) -> None:
    """Count the members in each state."""
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id)
        if watch:
            sweep.wait(progress=True)
    _print_counts(sweep, as_json)
    if watch and sweep.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command()
def table(
    context: typer.Context,
    id: SweepId,
    filter: Filters = None,
    sort: Annotated[str | None, typer.Option(help="column to sort by")] = None,
    descending: Annotated[bool, typer.Option("--descending", help="largest first")] = False,
    aggregate: Annotated[
        str | None,
        typer.Option(help="one row per point: mean, sd, min, max, median, count or q05, separated by commas"),
    ] = None,
    over: Annotated[str | None, typer.Option(help="axes to aggregate over; default: seed")] = None,
    value: Annotated[str | None, typer.Option(help="observables to aggregate; default: all")] = None,
    window: Window = None,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="csv, jsonl, parquet or arrow; default: the ending of --out")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="file to write; - for stdout")] = None,
    as_json: Json = False,
) -> None:
    """Print or save one row per member with its point, its state and its last observables."""
    query: dict[str, Any] = {"filter": filter or (), "sort": sort, "descending": descending}
    query |= {"aggregate": aggregate or (), "over": over, "value": value or (), "window": specs.window(window)}
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id)
        if out is None and format is None:
            rows = sweep.table("rows", **query)
        else:
            _save(sweep, out or STDOUT, format, as_json, query)
            return
    if as_json:
        write_json(rows)
    elif rows:
        write_table(list(rows[0]), (list(row.values()) for row in rows), heading=True)


@app.command()
def plot(
    context: typer.Context,
    id: SweepId,
    x: Annotated[str, typer.Option(help="axis to draw from left to right")],
    y: Annotated[str, typer.Option(help="axis to draw upwards")],
    value: Annotated[str, typer.Option(help="observable that gives the colour")],
    out: Annotated[Path, typer.Option("--out", "-o", help="picture to write: png, svg or pdf")],
    statistic: Annotated[
        str, typer.Option(help="how members at one point are aggregated: mean, sd, min, max, median, q05 …")
    ] = "mean",
    window: Window = None,
    filter: Filters = None,
    as_json: Json = False,
) -> None:
    """Draw an observable over two axes of the sweep, aggregated over the others."""
    with exits(as_json):
        import matplotlib

        matplotlib.use("agg")  # pictures need no screen
        sweep: Sweep = context.obj.get_sweep(id)
        steps = specs.window(window)
        axes = sweep.phase_diagram(x, y, value, statistic=statistic, window=steps, filter=filter or ())
        figure: Any = axes.figure
        figure.savefig(out, dpi=150, bbox_inches="tight")
    write_json({"file": str(out)}) if as_json else print(out)


@app.command()
def view(
    context: typer.Context,
    id: SweepId,
    out: ViewOut,
    field: FieldName = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="number of typical members")] = 6,
    member: Annotated[list[int] | None, typer.Option(help="index of a member to show instead, repeatable")] = None,
    start: Start = None,
    stop: Stop = None,
    frames: Frames = 200,
    channel: Channel = None,
    fps: Fps = 12,
    scale: Scale = None,
    as_json: Json = False,
) -> None:
    """Save members side by side on one clock: typical ones, one of each group whose observables are alike."""
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id)
        found = sweep.show(
            field, count=count, members=member, start=start, stop=stop, frames=frames, channel=channel, fps=fps
        )
        save(found, out, scale, as_json)


@app.command()
def best(
    context: typer.Context,
    id: SweepId,
    value: Annotated[str, typer.Argument(metavar="OBSERVABLE", help="observable to order by")],
    lowest: Annotated[bool, typer.Option("--lowest", help="the smallest value first, not the largest")] = False,
    count: Annotated[int, typer.Option(min=1, help="number of members")] = 1,
    window: Window = None,
    filter: Filters = None,
    as_json: Json = False,
) -> None:
    """Print the ids of the members with the largest value of an observable."""
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id)
        conditions = ["state=succeeded", *(filter or ())]
        steps = specs.window(window)
        found = sweep.table("rows", filter=conditions, sort=value, descending=not lowest, window=steps)[:count]
    write_json(found) if as_json else print(*(row["id"] for row in found), sep="\n")


@app.command()
def summary(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Print how the last values of each observable are distributed over the members."""
    with exits(as_json):
        found = context.obj.get_sweep(id).summary()
    if as_json:
        write_json(found)
        return
    numbers = ("members", "mean", "sd", "minimum", "maximum")
    rows = ([name, *(values[key] for key in numbers)] for name, values in found["observables"].items())
    write_table(("observable", *numbers), rows, heading=True)


@app.command()
def priority(
    context: typer.Context,
    id: SweepId,
    priority: Annotated[int, typer.Argument(metavar="PRIORITY", min=0, max=9, help="9 is the most urgent")],
    as_json: Json = False,
) -> None:
    """Change the priority of the members that have not ended."""
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id).set_priority(priority)
    _print_counts(sweep, as_json)


@app.command()
def delete(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Remove the results of a sweep that has ended."""
    with exits(as_json):
        context.obj.get_sweep(id).delete()
    write_json({"deleted": [id]}) if as_json else note("deleted 1")


@app.command()
def pause(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Stop the members where they are, until `leym sweep resume`."""
    _change(context, id, "pause", as_json)


@app.command()
def resume(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Go on after `leym sweep pause`."""
    _change(context, id, "resume", as_json)


@app.command()
def retry(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Run the failed members again."""
    _change(context, id, "retry", as_json)


@app.command()
def cancel(context: typer.Context, id: SweepId, as_json: Json = False) -> None:
    """Cancel every member that has not ended."""
    _change(context, id, "cancel", as_json)


def _mode(zipped: bool, sample: str | None) -> Any:
    if zipped and sample:
        raise ValueError("--zip and --sample exclude each other: choose one")
    return specs.sample(sample) if sample else "zip" if zipped else "product"


def _change(context: typer.Context, id: str, action: str, as_json: bool) -> None:
    with exits(as_json):
        sweep: Sweep = getattr(context.obj.get_sweep(id), action)()
    _print_counts(sweep, as_json)


def _save(sweep: Sweep, out: Path, format: str | None, as_json: bool, query: dict[str, Any]) -> None:
    """Save the table to a file and print its name, or write it to stdout and print nothing else."""
    if out == STDOUT and as_json:
        raise ValueError("a table on stdout and --json exclude each other: choose one, or name a file with --out")
    size = sweep.save_table(out, format, **query)
    if out != STDOUT:
        write_json({"file": str(out), "bytes": size}) if as_json else print(out)


def _print_counts(sweep: Sweep, as_json: bool) -> None:
    write_json(sweep.as_dict()) if as_json else write_table(("state", "jobs"), sweep.counts.items())


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    write_json(facts) if as_json else write_table(("", ""), facts.items())
