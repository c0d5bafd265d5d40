"""Whether a bundle is whole and fits its architecture, before it is taken in. Torch-free."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from leym.contract.problems import Problem
from leym.laws.bundle import WEIGHTS, Bundle, Manifest
from leym.laws.importing.expected_shapes import Shapes, expected

TITLE = "Weights do not fit the law"
# Element types that a law may be stored in, and how numpy reads them. BF16 is looked at as its bits.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_CHUNK = 2**24  # bytes looked at at once
_SHOWN = 40  # broken keys that are named


def check_shapes(manifest: Manifest, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises Problem 422 that lists every missing, unexpected or misshapen key."""
    wanted: Shapes | None = expected(manifest.architecture, manifest.d_state, manifest.hidden_channels)
    if wanted is None:
        return  # the architecture of another package: its own network judges when the law is loaded
    errors = [f"missing key {key!r}" for key in wanted.keys() - shapes.keys()]
    errors += [f"unexpected key {key!r}" for key in shapes.keys() - wanted.keys()]
    for key in wanted.keys() & shapes.keys():
        if tuple(shapes[key]) != wanted[key]:
            errors.append(f"{key!r} has shape {list(shapes[key])}, expected {list(wanted[key])}")
    _refuse(manifest, errors)


def check_bundle(bundle: Bundle) -> None:
    """Raises Problem 422 unless the weights are exactly the file, fit the architecture and are all finite."""
    check_shapes(bundle.manifest, {key: shape for key, (_, shape) in bundle.tensors.items()})
    _refuse(bundle.manifest, _broken_tensors(bundle.path / WEIGHTS))


def _refuse(manifest: Manifest, errors: list[str]) -> None:
    if errors:
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        law = f"{manifest.architecture} d={manifest.d_state} c={manifest.hidden_channels}"
        raise Problem(422, TITLE, f"{law}: {'; '.join(sorted(errors)[:_SHOWN])}{more}")


def _broken_tensors(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy"):
            pass  # opening it checks that the tensors fill the file, without gaps and overlaps
    except (SafetensorError, OSError) as error:
        return [f"{WEIGHTS} is no safetensors file: {error}"]
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    errors = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        if entry["dtype"] not in _DTYPES:
            errors.append(f"{key!r} has dtype {entry['dtype']}, expected one of {', '.join(_DTYPES)}")
        elif not _all_finite(path, 8 + length + start, stop - start, entry["dtype"]):
            errors.append(f"{key!r} has values that are not finite")
    return errors


def _all_finite(path: Path, offset: int, size: int, dtype: str) -> bool:
    """Of a tensor in a file, read piece by piece."""
    with path.open("rb") as file:
        file.seek(offset)
        while size > 0:
            part = file.read(min(size, _CHUNK))
            if not part:
                return False
            size -= len(part)
            values = np.frombuffer(part, _DTYPES[dtype])
            good = (values & 0x7F80) != 0x7F80 if dtype == "BF16" else np.isfinite(values)
            if not good.all():
                return False
    return True
