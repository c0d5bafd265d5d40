"""Finds a law and keeps a further version of it, in a data folder or on a service: for the commands that make one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from leym.cli.output import exits, note
from leym.laws import versions
from leym.laws.bundle import NAME, Bundle, read_bundle
from leym.laws.registry import SHIPPED, Registry
from leym.settings import settings

Law = Annotated[str, typer.Argument(help="name or name@digest, or the folder of a bundle")]
NewName = Annotated[
    str | None, typer.Option("--name", help="name of the law that is kept; default: a further version of the same name")
]
Data = Annotated[
    Path | None,
    typer.Option(help="data folder of a service on this machine; default: LEYM_DATA if it is set, else an upload"),
]
Write = Callable[[Path, Path | None], Bundle]


def data_folder(given: Path | None) -> Path | None:
    """Return the data folder that the version goes to; None for a service."""
    return given or (settings().data if os.environ.get("LEYM_DATA") else None)


def check_name(name: str | None) -> None:
    """Check the name of the law that is kept.

    Raises:
        ValueError: Laws cannot be called so.
    """
    if name is not None and not re.match(NAME, name):
        raise ValueError(f"name = {name!r}: it must match {NAME}")


def find_law(law: str, folder: Path | None) -> Bundle:
    """Return the bundle in a folder, or the law of that name.

    Raises:
        Problem: 404, there is none.
    """
    if (Path(law) / "manifest.json").is_file():
        return read_bundle(Path(law))
    return Registry(SHIPPED, *([folder / "laws"] if folder else [])).resolve(law)


def keep_version(context: typer.Context, write: Write, folder: Path | None, as_json: bool) -> str:
    """Store a law in the data folder, or upload it, and return its reference.

    Args:
        context: Of the command; its object is the client of the service.
        write: Called with the new folder and the data folder for the verdict; writes the bundle.
        folder: The data folder; None uploads.
        as_json: Errors of the service are printed as JSON.
    """
    with TemporaryDirectory() as work:
        made = write(Path(work) / "law", folder)
        if folder is not None:
            return versions.add_copy(folder / "laws", made.path)[0].ref
        with exits(as_json):
            stored: dict[str, Any] = context.obj.add_law(made.path)
            note("uploaded; a service judges for itself: leym fidelity submit " + made.name)
    return str(stored["ref"])
