"""A law with formats of its own: the same weights under a manifest whose policy says them. Torch-free."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from leym.problems import Problem

FORMATS = ("nf4", "int8", "bf16", "16", "fp32")
ROLES = ("encoder", "backbone", "head", "vector", "frozen")


def with_formats(
    law: Bundle,
    precision: str,
    formats: Mapping[str, str],
    folder: Path,
    *,
    name: str | None = None,
    why: Mapping[str, Any] | None = None,
) -> Bundle:
    """A copy of the law in `folder` whose policy for this precision is what it was, and `formats` over it.

    formats: by role, or by a weight's key or the beginning of one. why: kept in the provenance, with the law's digest.
    Raises Problem 422 for a role, key or format that means nothing.
    """
    for where, form in formats.items():
        if form not in FORMATS:
            raise Problem(422, "Invalid policy", f"{where} = {form!r}: a format is one of {', '.join(FORMATS)}")
        if where not in ROLES and not any(key.startswith(where) for key in law.tensors):
            keys = ", ".join(list(law.tensors)[:8])
            roles = ", ".join(ROLES)
            raise Problem(
                422, "Invalid policy", f"{where!r} is no role ({roles}) and begins no weight's key ({keys}, …)"
            )
    said = law.manifest.model_dump()
    own = {**said["policy"].get(precision, {}), **formats}
    said["policy"] = said["policy"] | {precision: own}
    said["provenance"] = said["provenance"] | {
        "policy_of": {"source": law.digest, "date": datetime.now(UTC).date().isoformat(), **(why or {})}
    }
    manifest = Manifest.model_validate(said | {"name": name or law.name})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    shutil.copy(law.path / WEIGHTS, folder / WEIGHTS)
    return read_bundle(folder)
