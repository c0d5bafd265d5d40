"""A law with the weights of another and formats of its own. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle


def with_policy(
    law: Bundle,
    folder: Path,
    precision: str,
    policy: dict[str, str],
    *,
    name: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Bundle:
    """A bundle in `folder` that is `law` but for the formats of one precision (role or key beginning -> format).

    name: of the new law, else the same; provenance: entries beside those of the law. The weights are a link to the
    law's own file: `library.add_copy` makes a file of it. Raises ValueError for a manifest that cannot be.
    """
    said = law.manifest.model_dump(exclude_defaults=True)
    said["policy"] = {**said.get("policy", {}), precision: policy}
    said["provenance"] = {**said.get("provenance", {}), **(provenance or {})}
    manifest = Manifest.model_validate(said | ({"name": name} if name else {}))
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    (folder / WEIGHTS).symlink_to((law.path / WEIGHTS).resolve())
    return read_bundle(folder)
