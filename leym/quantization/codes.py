"""Writes and reads laws that carry codes of their own for a precision (`leym.laws.own_codes` describes the layout)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leym.contract.problems import Problem
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from leym.laws.loading import load_codes, load_weights
from leym.laws.own_codes import ABSMAX, check_codes, decode_codes, digest_of_codes
from leym.quantization.nf4 import NF4
from leym.quantization.policy import format_of, role_of

TITLE = "Weights do not fit the law"
Codes = dict[str, Tensor | NF4]  # key of a weight -> its code, see `write_with_codes`


def write_with_codes(
    law: Bundle,
    folder: Path,
    precision: str,
    tensors: Mapping[str, Tensor | NF4],
    *,
    name: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Bundle:
    """Write a copy of `law` into `folder` that carries codes of its own for one precision.

    Its fp32 weights are those of `law`; own codes of other precisions stay, earlier ones of this precision go.

    Args:
        law: The original.
        folder: Folder of the new bundle, which must not exist.
        precision: The precision of the codes: "nf4", "int8" or "bf16".
        tensors: Key of a weight -> its code: an `NF4` for a weight that the policy stores in NF4; for any other a float
            tensor of the weight's shape that takes its place and is stored in its format.
        name: Name of the new law; default: the same.
        provenance: Entries added to the provenance of `law`.

    Raises:
        Problem: 422, a code does not fit its weight or the policy.
        ValueError: The manifest would be invalid.
    """
    codes: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if isinstance(value, NF4):
            codes |= {key: value.packed, key + ABSMAX: value.absmax}
        else:
            codes[key] = value.detach().cpu().float()
    kept = {
        k: v for k, v in load_file(law.path / WEIGHTS).items() if (law.manifest.code_of(k) or ("",))[0] != precision
    }
    fields = law.manifest.model_dump(exclude_defaults=True)
    fields["provenance"] = {**fields.get("provenance", {}), **(provenance or {})}
    fields["codes"] = {
        **fields.get("codes", {}),
        precision: "0" * 64,
    }  # replaced below, once the codes are known to fit
    fields |= {"name": name} if name else {}
    folder.mkdir(parents=True)
    whole = kept | {f"{precision}.{key}": code for key, code in codes.items()}
    save_file({key: value.contiguous() for key, value in whole.items()}, folder / WEIGHTS)
    _write_manifest(folder, fields)
    draft = read_bundle(folder)
    check_codes(draft)
    check_formats(draft, precision, codes)
    decoded = decode_codes(draft, {key: code.numpy() for key, code in codes.items()})
    fields["codes"][precision] = digest_of_codes(decoded)
    _write_manifest(folder, fields)
    return read_bundle(folder)


def own_codes(law: Bundle, precision: str) -> dict[str, Tensor | NF4]:
    """Load the law's own codes of a precision, checked against `codes` of its manifest; empty if it has none.

    Returns:
        Key of a weight -> its code, as `write_with_codes` takes them.

    Raises:
        Problem: 422, the codes do not fit the law or its policy, or this machine decodes them to other weights than
            those that they were made for.
    """
    if precision not in law.manifest.codes:
        return {}
    tensors = load_codes(law, precision)
    check_formats(law, precision, tensors)
    shapes = {key: shape for key, (_, shape) in law.tensors.items()}
    codes: dict[str, Tensor | NF4] = {
        key: NF4(code, tensors[key + ABSMAX], shapes[key]) if code.dtype == torch.uint8 else code
        for key, code in tensors.items()
        if key in shapes
    }
    found = digest_of_codes({key: decoded(code).numpy() for key, code in codes.items()})
    wanted = law.manifest.codes[precision]
    if found != wanted:
        raise Problem(
            422,
            TITLE,
            f"{law.ref}: the own codes of {precision} decode to weights with sha256 {found}, but the manifest says"
            f" codes.{precision} = {wanted}",
        )
    return codes


def completed(law: Bundle, precision: str, codes: Mapping[str, Tensor | NF4]) -> Codes:
    """Return a code for every weight that is no constant: the given one, else that of its fp32 weight.

    Weights in "16" are rounded to bfloat16, which every operand dtype holds exactly, so that all devices run the same.
    """
    whole: Codes = {}
    for key, weight in load_weights(law).items():
        role = role_of(law.manifest, key, tuple(weight.shape))
        if role == "frozen":
            continue
        chosen, code = format_of(law.manifest, precision, key, role), codes.get(key, weight)
        if chosen == "nf4" and not isinstance(code, NF4):
            code = NF4.encode(code)
        elif chosen == "16" and not isinstance(code, NF4):
            code = code.bfloat16().float()
        whole[key] = code
    return whole


def decoded(code: Tensor | NF4) -> Tensor:
    """Return the float32 weight that a code stands for."""
    return code.decode(torch.float32) if isinstance(code, NF4) else code


def check_formats(law: Bundle, precision: str, codes: Mapping[str, Tensor]) -> None:
    """Check that weights with packed codes are those that the policy stores in NF4, and no others.

    Raises:
        Problem: 422, listing every code that does not fit.
    """
    errors = []
    for key, (_, shape) in law.tensors.items():
        chosen = format_of(law.manifest, precision, key, role_of(law.manifest, key, shape))
        if key in codes and (codes[key].dtype == torch.uint8) != (chosen == "nf4"):
            kind = "packed NF4" if codes[key].dtype == torch.uint8 else "plain"
            errors.append(f"'{precision}.{key}' is {kind}, but the policy stores the weight as {chosen}")
    if errors:
        raise Problem(422, TITLE, f"{law.ref}: " + "; ".join(errors))


def _write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(fields)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
