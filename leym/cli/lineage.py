"""`leym extend`, `fork`, `states` and `lineage`: time travel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.completion import JobId
from leym.cli.jobs import (
    Gamma,
    Intervene,
    Json,
    KeepStates,
    ObserveText,
    PrecisionName,
    Priority,
    Record,
    Reuse,
    Seed,
    Tags,
    show_progress,
    shown,
)
from leym.cli.output import exits, note, write_json, write_table
from leym.common.files import output_file

if TYPE_CHECKING:
    from leym.client import Job

Key = Annotated[str | None, typer.Option("--key", help="Idempotency-Key: commands with the same key submit once")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="show the progress until the job has ended")]


def extend(
    context: typer.Context,
    id: JobId,
    steps: Annotated[int, typer.Option(help="last step, counted from the start of the first job")],
    gamma: Gamma = None,
    record: Record = None,
    observe: ObserveText = None,
    keep_states: KeepStates = None,
    intervene: Intervene = None,
    priority: Priority = None,
    tag: Tags = None,
    reuse: Reuse = False,
    key: Key = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Go on from the last state of a job to a later step, and print the id of the new job.

    Everything that is not given is inherited.
    """
    with exits(as_json):
        job: Job = context.obj.job(id)
        made = job.extend(
            steps, gamma=specs.gamma(gamma), keep_states=keep_states, priority=priority, reuse=reuse or None,
            idempotency_key=key, **_parsed(record, observe, tag, intervene),
        )  # fmt: skip
        _print_made(job, made, watch, as_json)


def fork(
    context: typer.Context,
    id: JobId,
    step: Annotated[int, typer.Option(help="step of a kept state; `leym states ID` lists them")],
    steps: Annotated[int | None, typer.Option(help="last step; default: that of the job")] = None,
    gamma: Gamma = None,
    seed: Seed = None,
    law: Annotated[str | None, typer.Option(help="another law: name or name@digest")] = None,
    precision: PrecisionName = None,
    record: Record = None,
    observe: ObserveText = None,
    keep_states: KeepStates = None,
    intervene: Intervene = None,
    priority: Priority = None,
    tag: Tags = None,
    reuse: Reuse = False,
    key: Key = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Go on from any kept state of a job with other values, and print the id of the new job.

    Everything that is not given is inherited.
    """
    with exits(as_json):
        job: Job = context.obj.job(id)
        made = job.fork(
            step, steps=steps, gamma=specs.gamma(gamma), seed=seed, law=law, precision=precision,
            keep_states=keep_states, priority=priority, reuse=reuse or None, idempotency_key=key,
            **_parsed(record, observe, tag, intervene),
        )  # fmt: skip
        _print_made(job, made, watch, as_json)


def states(
    context: typer.Context,
    id: JobId,
    step: Annotated[int | None, typer.Option(help="save the state at this step")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="npy file to write; - for stdout")] = None,
    as_json: Json = False,
) -> None:
    """List the states from which other jobs can go on, or save one: psi, complex64 [H, W, d]."""
    with exits(as_json):
        job: Job = context.obj.job(id)
        if step is not None:
            target = out or Path(f"{id}-state-{step}.npy")
            import numpy as np

            psi = job.state_at(step)
            with output_file(target) as file:
                np.save(file, psi, allow_pickle=False)
            if str(target) != "-":
                write_json({"file": str(target)}) if as_json else print(target)
            return
        if out is not None:
            raise ValueError("--out needs --step: name the step of the state to save")
        found = job.states()
    if as_json:
        write_json(found)
        return
    write_table(("step", "kind", "bytes"), [(row["step"], row["kind"], row["bytes"]) for row in found])


def lineage(context: typer.Context, id: JobId, as_json: Json = False) -> None:
    """Show the jobs that a job continues, and those that continue it, as a tree."""
    with exits(as_json):
        found = context.obj.job(id).lineage()
    if as_json:
        write_json(found)
        return
    columns = ("id", "depth", "relation", "state", "steps", "differs")
    write_table(columns, _rows(found))


def _rows(nodes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    depth: dict[str | None, int] = {None: -1}
    rows = []
    for node in nodes:
        depth[node["id"]] = depth.get(node["parent"], -1) + 1
        state = "deleted" if node["deleted"] else node["state"]
        steps = f"{node['from_step']}-{node['to_step']}/{node['steps']}"
        differs = ", ".join(
            f"{key} {shown(own)} (there {shown(there)})" for key, (there, own) in node["differs"].items()
        )
        rows.append((node["id"], depth[node["id"]], node["relation"], state, steps, differs or None))
    return rows


def _parsed(
    record: list[str] | None, observe: str | None, tag: list[str] | None, intervene: list[str] | None
) -> dict[str, Any]:
    """Return the keywords that options need parsing for, without those that are not given."""
    found = {
        "record": specs.recordings(record) if record else None,
        "observe": specs.observe(observe),
        "tags": specs.tags(tag) if tag else None,
        "interventions": specs.interventions(intervene) if intervene else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _print_made(source: Job, made: Job, watch: bool, as_json: bool) -> None:
    """Print the id of a job that goes on from another one, and say on stderr in what they differ."""
    if made.parent == source.id:
        differs = ", ".join(f"{key} {shown(own)} (there {shown(there)})" for key, (there, own) in made.differs.items())
        note(f"differs from {source.id}: {differs or 'nothing'}")
    if watch:
        if not as_json:
            print(made.id, flush=True)
        show_progress([made], None, as_json)
    else:
        write_json(made.as_dict()) if as_json else print(made.id)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (extend, fork, states, lineage):
        app.command()(command)
