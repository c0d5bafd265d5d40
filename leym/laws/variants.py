"""Writes a law that shares another law's weights but stores them in other formats. Torch-free."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from leym.laws.own_codes import decode_codes, digest_of_codes, weight_of


def write_variant(
    law: Bundle,
    folder: Path,
    precision: str,
    policy: dict[str, str],
    *,
    name: str | None = None,
    provenance: dict[str, Any] | None = None,
    keep_codes: Collection[str] = (),
) -> Bundle:
    """Write a copy of `law` into `folder` that differs in the formats of one precision.

    The weights are a symbolic link to those of `law`; `versions.add_copy` replaces it by a file. A law with own codes
    of this precision gets a file of its own, without the codes of weights that are not in `keep_codes`: the code of a
    weight in another format would be a code of nothing. Own codes of other precisions stay.

    Args:
        law: The original.
        folder: Folder of the new bundle, which must not exist.
        precision: The precision whose formats change.
        policy: Role, or beginning of a weight's key -> format.
        name: Name of the new law; default: the same.
        provenance: Entries added to the provenance of `law`.
        keep_codes: Keys of weights whose own codes of this precision stay (`leym.quantization.policy.unchanged`).

    Raises:
        ValueError: The manifest would be invalid.
    """
    fields = law.manifest.model_dump(exclude_defaults=True)
    fields["policy"] = {**fields.get("policy", {}), precision: policy}
    fields["provenance"] = {**fields.get("provenance", {}), **(provenance or {})}
    fields |= {"name": name} if name else {}
    manifest = Manifest.model_validate(fields)
    folder.mkdir(parents=True)
    if precision in manifest.codes:
        manifest = Manifest.model_validate(fields | {"codes": _write_weights(law, folder, precision, keep_codes)})
    else:
        (folder / WEIGHTS).symlink_to((law.path / WEIGHTS).resolve())
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    return read_bundle(folder)


def _write_weights(law: Bundle, folder: Path, precision: str, keep: Collection[str]) -> dict[str, str]:
    """Write the weights without the codes of a precision that are not kept, and return `codes` of the manifest."""
    tensors = load_file(law.path / WEIGHTS)
    codes = {key: tensors.pop(f"{precision}.{key}") for key in law.codes(precision)}
    codes = {key: code for key, code in codes.items() if weight_of(law, key) in keep}
    save_file(tensors | {f"{precision}.{key}": code for key, code in codes.items()}, folder / WEIGHTS)
    hashes: dict[str, str] = {name: digest for name, digest in law.manifest.codes.items() if name != precision}
    if codes:
        hashes[precision] = digest_of_codes(decode_codes(law, codes))
    return hashes
