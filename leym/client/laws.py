"""Uploads of laws (bundles as a zip, checkpoints as a form, which can be sent again after a lost answer), and paths."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from typing import IO, Any

from leym.client.http import Http, segment
from leym.contract.problems import Problem
from leym.laws.importing.experiment import find_experiment

LAW = ("name", "digest", "ref", "provenance")
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
TIMEOUT_S = 600.0  # long enough for the service to read, check and store half a gigabyte
_PIECE = 2**20


def upload_bundle(http: Http, path: Path, name: str | None, digest: str | None) -> dict[str, Any]:
    """Upload the bundle at `path`, a folder or a zip of one, and return the law. Raises ValueError if it is neither."""
    params = {} if digest is None else {"digest": digest}
    with _zipped(path) as file:
        name = name or segment(_name_in(file, path))
        body = _Body(file)
        headers = {"Content-Type": "application/zip", "Content-Length": str(body.size)}
        options = {"params": params, "headers": headers, "timeout": TIMEOUT_S}
        return dict(http.json("PUT", f"/v1/laws/{name}", having=LAW, content=body, **options))


def upload_checkpoint(http: Http, path: Path, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Upload a checkpoint, or the checkpoint and the config of an experiment folder, and return the law.

    Raises:
        ValueError: there is no checkpoint at `path`.
    """
    try:
        experiment = find_experiment(path)
    except Problem as problem:
        raise ValueError(problem.detail) from problem
    data = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in fields.items()}
    with ExitStack() as stack:
        files = {"checkpoint": (experiment.checkpoint.name, stack.enter_context(experiment.checkpoint.open("rb")))}
        if experiment.config:
            files["config"] = (experiment.config.name, stack.enter_context(experiment.config.open("rb")))
        return dict(http.json("PUT", f"/v1/laws/{name}", having=LAW, data=data, files=files, timeout=TIMEOUT_S))


class LawTable(list[dict[str, Any]]):
    """The laws of a service, which a notebook shows as a table."""

    COLUMNS = ("name", "architecture", "d_state", "ref")

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{column}</th>" for column in self.COLUMNS)
        rows = ("".join(f"<td>{escape(str(law.get(column, '')))[:80]}</td>" for column in self.COLUMNS) for law in self)
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


class _Body:
    """The bytes of a file; each iteration starts at the beginning, so that a request can be repeated."""

    def __init__(self, file: IO[bytes]):
        self._file, self.size = file, file.seek(0, 2)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece


@contextmanager
def _zipped(path: Path) -> Iterator[IO[bytes]]:
    if path.is_file():
        with path.open("rb") as file:
            yield file
        return
    for name in (MANIFEST, WEIGHTS):
        if not (path / name).is_file():
            raise ValueError(f"{path} is not a bundle: it has no {name}")
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # weights hardly shrink
            for name in (MANIFEST, WEIGHTS):
                archive.write(path / name, name)
        yield packed


def _name_in(file: IO[bytes], path: Path) -> str:
    """Return the name in the manifest of a zipped bundle."""
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [name for name in archive.namelist() if name.rpartition("/")[2] == MANIFEST]
            name = json.loads(archive.read(inside[0]))["name"]
    except (zipfile.BadZipFile, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a bundle: it has no {MANIFEST} with a name") from error
    if not isinstance(name, str):
        raise ValueError(f"{path}: name = {name!r} in {MANIFEST} is not a name")
    return name


def verdict_path(law: str, precision: str) -> str:
    """Return the path of the verdict on a precision of a law."""
    return f"/v1/laws/{segment(law, '@')}/fidelity/{segment(precision)}"
