"""Reads the body of `PUT /v1/laws/{name}`: a zipped bundle, the two files of a bundle, or a checkpoint to import."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

from flask import Request
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage

from app.errors import validation_problem
from app.models.laws import ImportFields
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
FORM_OVERHEAD_BYTES = 2**20  # boundaries and headers of a form
_BLOCK_BYTES = 2**20


def receive_law(request: Request, name: str, work: Path) -> Bundle:
    """Write the law of a request's body to a folder, rename it and check it.

    Args:
        request: The request.
        name: The name in the request's path, which replaces the name in the law.
        work: An empty folder, in which the law and temporary files are written.

    Raises:
        Problem: 413 if the body is too large, 415 if its type is not supported, 422 if the law is not valid.
    """
    request.max_content_length = LIMITS.law_bytes + FORM_OVERHEAD_BYTES
    folder = work / "law"
    if request.mimetype in (ZIP, "application/x-zip-compressed"):
        _unpack(_save_body(request, work / "body.zip"), folder)
    elif request.mimetype == FORM:
        files = request.files
        if set(files) == {"manifest", "weights"} and not request.form:
            folder.mkdir()
            _save_file(files["manifest"], folder / MANIFEST, MANIFEST_BYTES)
            _save_file(files["weights"], folder / WEIGHTS, LIMITS.law_bytes)
        elif "checkpoint" in files and set(files) <= {"checkpoint", "config"}:
            _import_checkpoint(request, name, work, folder)
        else:
            parts = {str(part) for part in (*files, *request.form)}  # a part without a name is None
            found = ", ".join(sorted(parts)) or "nothing"
            raise invalid(f"the form has {found[:200]}; send manifest and weights, or checkpoint and optionally config")
    else:
        detail = f"Content-Type = {request.mimetype[:80]!r}; it must be {ZIP} or {FORM}"
        raise Problem(415, "Unsupported media type", detail)
    rename_law(folder, name)
    bundle = read_bundle(folder)
    check_bundle(bundle)
    return bundle


def _save_body(request: Request, target: Path) -> Path:
    """Write the body to a file. The request's stream ends or raises at `max_content_length`."""
    with target.open("wb") as file:
        while block := request.stream.read(_BLOCK_BYTES):
            file.write(block)
    return target


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a zip that contains exactly the two files of a bundle, at its top or in one folder."""
    with safe_zip.open_zip(path, TITLE, LIMITS.law_bytes) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        top = str(PurePosixPath(names[0]).parent) if names else "."
        prefix = "" if top == "." else top + "/"
        if "/" in top or set(names) != {prefix + MANIFEST, prefix + WEIGHTS}:
            found = ", ".join(repr(name[:80]) for name in names[:5]) or "nothing"
            required = f"it must contain {MANIFEST} and {WEIGHTS}, and nothing else"
            raise Problem(422, TITLE, f"the zip contains {found}; {required}")
        size = archive.getinfo(prefix + MANIFEST).file_size
        if size > MANIFEST_BYTES:
            raise Problem(422, TITLE, f"{MANIFEST} has {size} bytes; at most {MANIFEST_BYTES}")
        folder.mkdir()
        for name in (MANIFEST, WEIGHTS):
            with (folder / name).open("wb") as file:
                safe_zip.extract(archive, prefix + name, file, TITLE)


def _import_checkpoint(request: Request, name: str, work: Path, folder: Path) -> None:
    """Convert the checkpoint of a form to a bundle in `folder`."""
    try:
        fields = ImportFields.model_validate(request.form.to_dict())
    except ValidationError as error:
        raise validation_problem(error, body=request.form.to_dict()) from error
    config = None
    if "config" in request.files:
        text = io.BytesIO()
        _copy(request.files["config"], text, CONFIG_BYTES)
        config = parse_config(text.getvalue())
    checkpoint = work / "checkpoint"
    upload = request.files["checkpoint"]
    _save_file(upload, checkpoint, LIMITS.law_bytes)
    source = PurePosixPath((upload.filename or "checkpoint").replace("\\", "/")).name[:200]
    convert(checkpoint, name, UserHints(**fields.model_dump()), config, folder, source=source)


def _save_file(upload: FileStorage, target: Path, max_bytes: int) -> None:
    with target.open("wb") as file:
        _copy(upload, file, max_bytes)


def _copy(upload: FileStorage, target: io.BufferedIOBase, max_bytes: int) -> None:
    left = max_bytes
    while block := upload.stream.read(_BLOCK_BYTES):
        left -= len(block)
        if left < 0:
            raise Problem(413, "Too large", f"{upload.name} has more than {max_bytes} bytes")
        target.write(block)
