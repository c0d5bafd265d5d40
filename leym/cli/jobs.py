"""`leym submit`, `watch`, `jobs`, `show`, `cancel` and `delete`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import completion, specs
from leym.cli.completion import JobId, JobIds
from leym.cli.output import FAILED, age, exits, note, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client, Job

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Grid = Annotated[str | None, typer.Option(help="cells: 64 or 64x128; default: 64")]
Steps = Annotated[int | None, typer.Option(help="number of steps; default: 1000")]
Record = Annotated[
    list[str] | None,
    typer.Option(
        "--record", "-r", help="field to record: FIELD[:EVERY[:DTYPE]], repeatable; EVERY defaults to steps/100"
    ),
]
ObserveText = Annotated[str | None, typer.Option(help="observables: EVERY, NAME,NAME or EVERY:NAME,NAME")]
Seed = Annotated[int | None, typer.Option(help="seed of the random numbers; default: 0")]
Gamma = Annotated[
    str | None, typer.Option(help="damping: 0.02, or values from steps on: 0:0.01,500:0.05; default: 0.01")
]
InitialText = Annotated[
    str | None,
    typer.Option(help="start state: zeros, seed, random, complex_noise:STRENGTH, JOB@STEP, upload:ID or a file.npy"),
]
PrecisionName = Annotated[str | None, typer.Option(help="nf4, int8, bf16, fp32 or auto; default: auto")]
Priority = Annotated[int | None, typer.Option(help="0 to 9; 9 is the most urgent; default: 4")]
Name = Annotated[str | None, typer.Option(help="what people call it; `leym label` changes it")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE, repeatable")]
KeepStates = Annotated[int | None, typer.Option(help="keep the complete state every so many steps, to fork from it")]
Intervene = Annotated[
    list[str] | None,
    typer.Option(
        "--intervene",
        help="change at a step, repeatable: '200 vortex y=32 x=20 radius=8', '9 noise strength=1 region=disc:32,32,8'",
    ),
]
Reuse = Annotated[
    bool, typer.Option("--reuse", help="return, join or extend a job that computes the same, if there is one")
]
SpecFile = Annotated[
    str | None, typer.Option("--spec", help="file with a JobSpec as JSON, - for stdin; options take precedence")
]

INHERITED = ("law", "grid", "gamma", "precision")  # keys that a job takes from the job whose state it starts from


def spec_of(client: Client, law: str | None, file: str | None, **options: Any) -> dict[str, Any]:
    """Return the keywords of `Client.submit`: those of a spec file, with the given options in their place.

    Args:
        client: client for uploading a start state.
        law: name or name@digest.
        file: file with a JobSpec as JSON; `-` is stdin.
        **options: options of `leym submit` by name; None for those that are not given.

    Raises:
        ValueError: an option or the file cannot be read, or a law is missing.
    """
    given = {
        "law": law,
        "grid": specs.grid(options["grid"]) if options["grid"] else None,
        "steps": options["steps"],
        "record": specs.recordings(options["record"]) if options["record"] else None,
        "observe": specs.observe(options["observe"]),
        "seed": options["seed"],
        "gamma": specs.gamma(options["gamma"]),
        "initial": specs.initial(options["initial"], client),
        "precision": options["precision"],
        "priority": options["priority"],
        "name": options.get("name"),
        "tags": specs.tags(options["tag"]) if options["tag"] else None,
        "keep_states": {"every": options["keep_states"]} if options.get("keep_states") else None,
        "interventions": specs.interventions(options["intervene"]) if options.get("intervene") else None,
        "reuse": options.get("reuse") or None,
    }
    spec = specs.read_document(file) if file else {}
    spec |= {key: value for key, value in given.items() if value is not None}
    if "law" not in spec and source_of(spec) is None:
        raise ValueError("name a law: leym submit LAW (`leym laws` lists them)")
    return spec


def source_of(spec: Mapping[str, Any]) -> str | None:
    """Return the id of the job whose state a job with this spec starts from, or None."""
    initial = spec.get("initial")
    return initial.get("job") if isinstance(initial, dict) and initial.get("kind") == "state" else None


def note_inheritance(source: Job, given: Collection[str], job: Job, varied: Collection[str] = ()) -> None:
    """Print which keys `job` inherits from the job it starts from, and which given keys differ from that job.

    Args:
        source: the job that `job` starts from.
        given: keys that were given for `job`.
        job: the new job.
        varied: keys that are axes of a sweep, which are left out.
    """
    mine, theirs = ({**one.spec, "law": one.law} for one in (job, source))
    keys = [key for key in INHERITED if key not in varied]
    inherited = [f"{key} {shown(mine[key])}" for key in keys if key not in given]
    differs = [
        f"{key} {shown(mine[key])} (there {shown(theirs[key])})"
        for key in keys
        if key in given and mine[key] != theirs[key]
    ]
    for relation, found in (("inherited from", inherited), ("differs from", differs)):
        if found:
            note(f"{relation} {source.id}: {', '.join(found)}")


def shown(value: Any) -> str:
    """Return a value of a spec as text: a grid as 64x128, a schedule of gamma as 0:0.01,500:0.05, others as JSON."""
    if isinstance(value, list) and value and all(isinstance(side, int) for side in value):
        return "x".join(map(str, value))
    if isinstance(value, list) and value and all(isinstance(point, list) and len(point) == 2 for point in value):
        return str(specs.gamma_text(value))
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def submit(
    context: typer.Context,
    law: Annotated[
        str | None,
        typer.Argument(
            help="name or name@digest; with --initial JOB@STEP the default is the law of that job",
            autocompletion=completion.laws,
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
    name: Name = None,
    tag: Tags = None,
    keep_states: KeepStates = None,
    intervene: Intervene = None,
    reuse: Reuse = False,
    spec: SpecFile = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency-Key: commands with the same key submit once")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show the progress until the job has ended")] = False,
    as_json: Json = False,
) -> None:
    """Queue a universe and print its id.

    With --initial JOB@STEP, the law, grid, gamma and precision of that job are inherited unless they are given.
    """
    client: Client = context.obj
    with exits(as_json):
        body = spec_of(
            client, law, spec, grid=grid, steps=steps, record=record, observe=observe, seed=seed, gamma=gamma,
            initial=initial, precision=precision, priority=priority, name=name, tag=tag, keep_states=keep_states,
            reuse=reuse, intervene=intervene,
        )  # fmt: skip
        source = source_of(body)
        found = client.job(source) if source else None
        job = client._submit(client._body(**{"law": None} | body), key)
        if found:
            note_inheritance(found, body, job)
        if watch:
            if not as_json:
                print(job.id, flush=True)
            show_progress([job], None, as_json)
        else:
            write_json(job.as_dict()) if as_json else print(job.id)


def quote(
    context: typer.Context,
    law: Annotated[str | None, typer.Argument(help="name or name@digest", autocompletion=completion.laws)] = None,
    grid: Grid = None,
    steps: Steps = None,
    record: Record = None,
    observe: ObserveText = None,
    initial: InitialText = None,
    precision: PrecisionName = None,
    priority: Priority = None,
    spec: SpecFile = None,
    as_json: Json = False,
) -> None:
    """Print when a job would start and end and what it would take, and submit nothing."""
    client: Client = context.obj
    with exits(as_json):
        body = spec_of(
            client, law, spec, grid=grid, steps=steps, record=record, observe=observe, seed=None, gamma=None,
            initial=initial, precision=precision, priority=priority, tag=None,
        )  # fmt: skip
        found = client._quote(client._body(**{"law": None} | body))
    if as_json:
        write_json(found)
        return
    ranges = [(key, value["p50"], value["p90"]) for key, value in found.items() if isinstance(value, dict)]
    write_table(("what", "p50", "p90"), ranges)
    write_table(("key", "value"), [(key, value) for key, value in found.items() if not isinstance(value, dict)])


def watch(
    context: typer.Context,
    ids: JobIds,
    timeout: Annotated[float | None, typer.Option(help="seconds to wait at most; then exit code 1")] = None,
    as_json: Json = False,
) -> None:
    """Show the progress of jobs until all have ended; exit code 1 if one failed or was cancelled."""
    with exits(as_json):
        show_progress([context.obj.job(id) for id in ids], timeout, as_json)


def show_progress(jobs: list[Job], timeout: float | None, as_json: bool) -> None:
    """Wait until all jobs have ended and print their problems; exit with code 1 unless all succeeded."""
    from leym.client.job import wait_all
    from leym.client.progress import Bars

    with Bars() as bars:
        wait_all(jobs, timeout, bars)
    if as_json:
        write_json([job.as_dict() for job in jobs] if len(jobs) > 1 else jobs[0].as_dict())
    for job in jobs:
        if job.error and not as_json:
            note(f"leym: job {job.id} failed: {job.error.get('detail') or job.error.get('title')}")
    if any(job.state != "succeeded" for job in jobs):
        raise typer.Exit(FAILED)


def list_jobs(
    context: typer.Context,
    state: Annotated[
        str | None, typer.Option(help="only jobs that are queued, running, paused, succeeded, failed or cancelled")
    ] = None,
    law: Annotated[str | None, typer.Option(help="only jobs of this law")] = None,
    tag: Annotated[str | None, typer.Option(help="only jobs with this tag: KEY=VALUE")] = None,
    sweep: Annotated[str | None, typer.Option(help="only jobs of the sweep with this id")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="number of jobs at most")] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with exits(as_json):
        jobs = list(context.obj.jobs(state=state, law=law, tag=tag, sweep=sweep, limit=limit))
    if as_json:
        write_json([job.as_dict() for job in jobs])
        return
    columns = ("id", "state", "step", "law", "grid", "seed", "gamma", "age")
    write_table(columns, (_row(job) for job in jobs))


def show(context: typer.Context, id: JobId, as_json: Json = False) -> None:
    """Show everything about one job."""
    with exits(as_json):
        job: Job = context.obj.job(id)
    if as_json:
        write_json(job.as_dict())
        return
    hidden = ("spec", "links")
    write_table(("key", "value"), [(k, v) for k, v in job.as_dict().items() if k not in hidden])
    write_table(("key", "value"), [(f"spec.{k}", v) for k, v in job.spec.items() if v not in (None, [], {})])


def cancel(context: typer.Context, ids: JobIds, as_json: Json = False) -> None:
    """Stop jobs; their recorded frames stay."""
    with exits(as_json):
        jobs = [context.obj.job(id).cancel() for id in ids]
    write_json([job.as_dict() for job in jobs]) if as_json else write_table(
        ("id", "state"), [(j.id, j.state) for j in jobs]
    )


def delete(context: typer.Context, ids: JobIds, as_json: Json = False) -> None:
    """Remove the results of jobs that have ended."""
    with exits(as_json):
        for id in ids:
            context.obj.job(id).delete()
    write_json({"deleted": ids}) if as_json else note(f"deleted {len(ids)}")


def _row(job: Job) -> tuple[Any, ...]:
    spec = job.spec
    height, width = spec["grid"]
    law = job.law.partition("@")[0]
    return (
        job.id, job.state, f"{job.step}/{job.steps}", law, f"{height}x{width}",
        spec.get("seed", 0), specs.gamma_text(spec.get("gamma")), age(job.as_dict().get("created_at")),
    )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(submit)
    app.command()(quote)
    app.command()(watch)
    app.command("jobs")(list_jobs)
    app.command()(show)
    app.command()(cancel)
    app.command()(delete)
