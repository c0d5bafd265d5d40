"""Writes a law that shares another law's weights but stores them in other formats. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle


def write_variant(
    law: Bundle,
    folder: Path,
    precision: str,
    policy: dict[str, str],
    *,
    name: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Bundle:
    """Write a copy of `law` into `folder` that differs in the formats of one precision.

    The weights are a symbolic link to those of `law`; `versions.add_copy` replaces it by a file.

    Args:
        law: The original.
        folder: Folder of the new bundle, which must not exist.
        precision: The precision whose formats change.
        policy: Role, or beginning of a weight's key -> format.
        name: Name of the new law; default: the same.
        provenance: Entries added to the provenance of `law`.

    Raises:
        ValueError: The manifest would be invalid.
    """
    fields = law.manifest.model_dump(exclude_defaults=True)
    fields["policy"] = {**fields.get("policy", {}), precision: policy}
    fields["provenance"] = {**fields.get("provenance", {}), **(provenance or {})}
    manifest = Manifest.model_validate(fields | ({"name": name} if name else {}))
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    (folder / WEIGHTS).symlink_to((law.path / WEIGHTS).resolve())
    return read_bundle(folder)
