"""`leym laws`: list, add, import, show and remove the laws of a service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import completion
from leym.cli.jobs import Json
from leym.cli.lazy import LazyCommand, LazyGroup
from leym.cli.output import exits, note, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client


class Laws(LazyGroup):
    """The commands of `leym laws` that need torch."""

    lazy = {
        "quantize": LazyCommand(
            "leym.cli.local.quantize",
            "Print the size of a law in few bits, or give it formats of your choice per role or weight.",
            ("worker",),
        ),
        "calibrate": LazyCommand(
            "leym.cli.local.calibrate",
            "Choose better four-bit codes for a law without training it, and keep the law that passes.",
            ("worker",),
        ),
        "refine": LazyCommand(
            "leym.cli.local.refine",
            "Train the four-bit weights of a law towards its fp32 form, and keep it if it passes.",
            ("worker",),
        ),
        "tune-precision": LazyCommand(
            "leym.cli.local.tune_precision",
            "Find the weights that need more bits for a law to pass its gate.",
            ("worker",),
        ),
        "inspect": LazyCommand(
            "leym.cli.local.inspect",
            "Print the bytes and the error of every layer at a precision.",
            ("worker",),
        ),
    }


app = typer.Typer(cls=Laws, help="List laws, or add, import, show and remove one.", invoke_without_command=True)

Data = Annotated[
    Path | None,
    typer.Option(help="data folder of a service on this machine; default: LEYM_DATA if it is set, else an upload"),
]
Name = Annotated[str, typer.Argument(help="name or name@digest", autocompletion=completion.laws)]


@app.callback()
def laws(context: typer.Context, as_json: Json = False) -> None:
    """List the laws, unless a command follows."""
    if context.invoked_subcommand is not None:
        return
    client: Client = context.obj
    with exits(as_json):
        found = client.laws()
    if as_json:
        write_json(found)
        return
    rows = ((law["name"], law["digest"][:12], law["architecture"], law["d_state"]) for law in found)
    write_table(("name", "digest", "architecture", "d_state"), rows)


@app.command()
def add(
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(help="folder with manifest.json and weights.safetensors; for an upload also a zip of it")
    ],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add a bundle, by a copy into a data folder, where a running service finds it, or by an upload."""
    with exits(as_json):
        folder = _folder(data)
        _report(_place(bundle, folder) if folder else context.obj.add_law(bundle), as_json)


@app.command("import")
def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="a checkpoint (.pth), or an experiment folder")],
    name: Annotated[str, typer.Option(help="name of the law")],
    architecture: Annotated[
        str | None, typer.Option(help="architecture, if neither config nor weights name it")
    ] = None,
    d_state: Annotated[int | None, typer.Option(min=1, help="complex channels per cell")] = None,
    hidden_channels: Annotated[int | None, typer.Option(min=1, help="width of the network")] = None,
    form: Annotated[str | None, typer.Option(help="form of the update: additive, diagonal or antisymmetric")] = None,
    resize_antialias: Annotated[
        bool | None,
        typer.Option(
            "--resize-antialias/--no-resize-antialias", help="resize with antialiasing; needed for an SNN_UNET"
        ),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Turn a training checkpoint into a law. No code in the file is executed."""
    hints: dict[str, Any] = {
        "architecture": architecture,
        "d_state": d_state,
        "hidden_channels": hidden_channels,
        "form": form,
        "resize_antialias": resize_antialias,
    }
    with exits(as_json):
        folder = _folder(data)
        if folder is None:
            law = context.obj.import_law(path, name, **hints)
            _report(law, as_json, law["provenance"])
            return
        # imported here, because the commands that only speak HTTP work without safetensors
        from leym.contract.problems import Problem
        from leym.laws.importing.convert import import_law

        try:
            made = import_law(path, name, target=folder / "laws", **hints)
        except Problem as problem:
            raise ValueError(problem.detail) from problem
        _report({"name": made.name, "digest": made.digest, "ref": made.ref}, as_json, made.manifest.provenance)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show everything about one law."""
    with exits(as_json):
        law = context.obj.law(name)
    if as_json:
        write_json(law)
        return
    hidden = ("provenance", "versions")
    rows = [(key, value) for key, value in law.items() if key not in hidden and value != ""]
    rows += [(f"provenance.{key}", value) for key, value in law["provenance"].items()]
    write_table(("key", "value"), [*rows, *(("version", ref) for ref in law["versions"])])


@app.command()
def delete(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Remove a law with all its versions, or one version by name@digest, unless jobs need it."""
    with exits(as_json):
        context.obj.delete_law(name)
    write_json({"deleted": name}) if as_json else note(f"deleted {name}")


def _folder(data: Path | None) -> Path | None:
    """Return the data folder to write to; None for an upload to the service."""
    if data is None and os.environ.get("LEYM_DATA"):
        from leym.settings import settings

        return settings().data
    return data


def _place(bundle: Path, data: Path) -> dict[str, Any]:
    """Copy a bundle to `laws/<name>` in a data folder, as a further version if the law exists."""
    from leym.contract.problems import Problem
    from leym.laws import versions

    try:
        law, new = versions.add_copy(data / "laws", bundle)
    except Problem as problem:
        raise ValueError(problem.detail) from problem
    if not new:
        raise ValueError(f"law {law.name!r} exists already: {law.path}")
    return {"name": law.name, "digest": law.digest, "ref": law.ref}


def _report(law: dict[str, Any], as_json: bool, provenance: Mapping[str, Any] | None = None) -> None:
    skipped = (provenance or {}).get("skipped")
    if skipped and not as_json:
        note(f"not imported, because they are not weights: {', '.join(skipped)}")
    if as_json:
        write_json({"name": law["name"], "digest": law["digest"]})
    else:
        print(law["ref"])
