"""The body of `PUT /v1/laws/{name}` as a bundle on the disk: a zip, two files of a form, or a checkpoint to import."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

from flask import Request
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage

from app.errors import problem_of_validation
from app.models import ImportFields
from leym.contract.problems import Problem, invalid
from leym.contract.spec import LIMITS
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.importing import safe_zip
from leym.laws.importing.checks import check_bundle
from leym.laws.importing.convert import convert
from leym.laws.importing.experiment import CONFIG_BYTES, parse_config
from leym.laws.importing.identify import UserHints
from leym.laws.versions import rename_law

ZIP, FORM = "application/zip", "multipart/form-data"
TITLE = "Unreadable law"
MANIFEST_BYTES = 1 * 2**20
_PIECE = 2**20


def receive(request: Request, name: str, work: Path) -> Bundle:
    """The law in the body, checked, as a folder in `work`, under the name of the path.

    Raises Problem 413 (too large), 415 (another type of body) or 422 (what is wrong with it).
    """
    request.max_content_length = LIMITS.law_bytes + 2**20  # and the borders of a form
    folder = work / "law"
    if request.mimetype in (ZIP, "application/x-zip-compressed"):
        _unpack(_body(request, work / "body.zip"), folder)
    elif request.mimetype == FORM:
        files = request.files
        if set(files) == {"manifest", "weights"} and not request.form:
            folder.mkdir()
            _save(files["manifest"], folder / MANIFEST, MANIFEST_BYTES)
            _save(files["weights"], folder / WEIGHTS, LIMITS.law_bytes)
        elif "checkpoint" in files and set(files) <= {"checkpoint", "config"}:
            _import(request, name, work, folder)
        else:
            sent = (
                ", ".join(sorted({str(name) for name in (*files, *request.form)})) or "nothing"
            )  # a part may have none
            raise invalid(f"the form has {sent[:200]}; files manifest and weights are taken, or checkpoint and config")
    else:
        detail = f"Content-Type = {request.mimetype[:80]!r}; {ZIP} and {FORM} are taken here"
        raise Problem(415, "Unsupported media type", detail)
    rename_law(folder, name)
    bundle = read_bundle(folder)
    check_bundle(bundle)
    return bundle


def _body(request: Request, target: Path) -> Path:
    """The bytes of the body as a file; the request's own stream ends at the bound."""
    with target.open("wb") as file:
        while piece := request.stream.read(_PIECE):
            file.write(piece)
    return target


def _unpack(path: Path, folder: Path) -> None:
    """Exactly the two files of a bundle, at the top of the zip or in one folder."""
    with safe_zip.open_zip(path, TITLE, LIMITS.law_bytes) as packed:
        names = [name for name in packed.namelist() if not name.endswith("/")]
        top = str(PurePosixPath(names[0]).parent) if names else "."
        prefix = "" if top == "." else top + "/"
        wanted = {prefix + MANIFEST, prefix + WEIGHTS}
        if "/" in top or set(names) != wanted:
            shown = ", ".join(repr(name[:80]) for name in names[:5]) or "nothing"
            raise Problem(422, TITLE, f"the zip holds {shown}; {MANIFEST} and {WEIGHTS} are wanted, and nothing else")
        size = packed.getinfo(prefix + MANIFEST).file_size
        if size > MANIFEST_BYTES:
            raise Problem(422, TITLE, f"{MANIFEST} has {size} bytes; at most {MANIFEST_BYTES}")
        folder.mkdir()
        for name in (MANIFEST, WEIGHTS):
            with (folder / name).open("wb") as file:
                safe_zip.extract(packed, prefix + name, file, TITLE)


def _import(request: Request, name: str, work: Path, folder: Path) -> None:
    try:
        fields = ImportFields.model_validate(request.form.to_dict())
    except ValidationError as error:
        raise problem_of_validation(error, body=request.form.to_dict()) from error
    config = None
    if "config" in request.files:
        text = io.BytesIO()
        _copy(request.files["config"], text, CONFIG_BYTES)
        config = parse_config(text.getvalue())
    checkpoint = work / "checkpoint"
    sent = request.files["checkpoint"]
    _save(sent, checkpoint, LIMITS.law_bytes)
    source = PurePosixPath((sent.filename or "checkpoint").replace("\\", "/")).name[:200]
    convert(checkpoint, name, UserHints(**fields.model_dump()), config, folder, source=source)


def _save(sent: FileStorage, target: Path, limit: int) -> None:
    with target.open("wb") as file:
        _copy(sent, file, limit)


def _copy(sent: FileStorage, target: io.BufferedIOBase, limit: int) -> None:
    left = limit
    while piece := sent.stream.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise Problem(413, "Too large", f"{sent.name} has more than {limit} bytes")
        target.write(piece)
