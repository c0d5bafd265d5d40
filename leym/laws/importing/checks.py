"""Checks that a bundle is complete and fits its architecture, before it is accepted. Torch-free."""

from __future__ import annotations

import json
import struct
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from leym.contract.problems import Problem
from leym.laws.bundle import WEIGHTS, Bundle, Manifest
from leym.laws.importing.expected_shapes import expected_shapes
from leym.laws.own_codes import check_codes

TITLE = "Weights do not fit the law"
# Element types that weights may have in a file, and how numpy reads them. numpy has no bfloat16: BF16 is read as bits.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_CHUNK = 2**24  # bytes checked at a time
_SHOWN = 40  # errors listed in a message


def check_shapes(manifest: Manifest, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the shapes of a law's weights with those of its architecture.

    Raises:
        Problem: 422, listing every missing and unexpected key and every wrong shape.
    """
    wanted = expected_shapes(manifest.architecture, manifest.d_state, manifest.hidden_channels)
    if wanted is None:
        return  # an architecture of another package: its network checks the shapes when the law is loaded
    errors = [f"missing key {key!r}" for key in wanted.keys() - shapes.keys()]
    errors += [f"unexpected key {key!r}" for key in shapes.keys() - wanted.keys()]
    for key in wanted.keys() & shapes.keys():
        if tuple(shapes[key]) != wanted[key]:
            errors.append(f"{key!r} has shape {list(shapes[key])}, expected {list(wanted[key])}")
    _raise_if_any(manifest, errors)


def check_bundle(bundle: Bundle) -> None:
    """Check that the weights fill their file exactly, fit the architecture and are all finite, and so do own codes.

    Raises:
        Problem: 422, listing everything that is wrong.
    """
    check_shapes(bundle.manifest, {key: shape for key, (_, shape) in bundle.tensors.items()})
    check_codes(bundle)
    _raise_if_any(bundle.manifest, _broken_tensors(bundle.path / WEIGHTS, bundle.tensors))


def _raise_if_any(manifest: Manifest, errors: list[str]) -> None:
    if errors:
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        law = f"{manifest.architecture} d={manifest.d_state} c={manifest.hidden_channels}"
        raise Problem(422, TITLE, f"{law}: {'; '.join(sorted(errors)[:_SHOWN])}{more}")


def _broken_tensors(path: Path, own: Container[str]) -> list[str]:
    try:
        with safe_open(path, framework="numpy"):
            pass  # opening checks that the tensors fill the file without gaps and overlaps
    except (SafetensorError, OSError) as error:
        return [f"{WEIGHTS} is not a safetensors file: {error}"]
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    errors = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        if entry["dtype"] == "U8" and key not in own:
            continue  # an index of a level, in an own code: every value is valid
        if entry["dtype"] not in _DTYPES:
            errors.append(f"{key!r} has dtype {entry['dtype']}, expected one of {', '.join(_DTYPES)}")
        elif not _all_finite(path, 8 + length + start, stop - start, entry["dtype"]):
            errors.append(f"{key!r} has values that are not finite")
    return errors


def _all_finite(path: Path, offset: int, size: int, dtype: str) -> bool:
    """Tell whether all values of a tensor in a file are finite, reading it in chunks."""
    with path.open("rb") as file:
        file.seek(offset)
        while size > 0:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                return False
            size -= len(chunk)
            values = np.frombuffer(chunk, _DTYPES[dtype])
            finite = (values & 0x7F80) != 0x7F80 if dtype == "BF16" else np.isfinite(values)
            if not finite.all():
                return False
    return True
