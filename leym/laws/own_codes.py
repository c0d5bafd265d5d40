"""Codes of a law's own: how its weights are stored in a precision, where nearest rounding would not do. Torch-free.

A law whose manifest names a precision in `codes` carries, beside its weights in `weights.safetensors`, for some of them

    <precision>.<key>          uint8 [ceil(n / 2), 1]      the n weights in NF4, as `leym.quantization.nf4.NF4` has them
    <precision>.<key>.absmax   float32 [ceil(n / 64)]      and their scales
    <precision>.<key>          float32, as the weight      a weight that takes the place of the law's in this precision,
                                                           and is stored in the format of the policy (a norm, a bias)

Weights without a code are stored by the policy. Other precisions, fp32 among them, use the weights alone, so a verdict
on such a precision compares with the law that the codes were made for.

`codes` holds a sha256 of what the codes stand for. Whoever decodes them compares it, so that a decoder that differs is
an error instead of another law.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.laws.bundle import Bundle

BLOCK = 64  # weights per scale
ABSMAX = ".absmax"
# The levels of NormalFloat4, ascending (Dettmers et al. 2023, "QLoRA", arXiv 2305.14314, appendix E).
NF4_LEVELS: NDArray[np.float32] = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)

Array = NDArray[Any]


def weight_of(law: Bundle, key: str) -> str:
    """Return the key of the weight that a tensor of an own code belongs to; `key` is without the precision."""
    return key if key in law.tensors else key.removesuffix(ABSMAX)


def check_codes(law: Bundle) -> None:
    """Check that every own code belongs to a weight and has its shape and dtype, by the header of the file.

    Raises:
        Problem: 422, listing every tensor that does not fit.
    """
    errors = []
    for precision in law.manifest.codes:
        codes = law.codes(precision)
        if not codes:
            errors.append(f"codes.{precision}: there is no tensor {precision}.* in the weights file")
        errors += [f"'{precision}.{key}' {why}" for key in codes for why in _errors_of(law, codes, key)]
    if errors:
        raise Problem(422, "Weights do not fit the law", f"{law.ref}: " + "; ".join(sorted(errors)[:40]))


def _errors_of(law: Bundle, codes: Mapping[str, tuple[str, tuple[int, ...]]], key: str) -> list[str]:
    dtype, shape = codes[key]
    weight = weight_of(law, key)
    if weight not in law.tensors:
        return ["is a code of no weight"]
    if any(weight.startswith(prefix) for prefix in law.manifest.architecture_info.frozen):
        return ["is a code of a constant, which is exact in every precision"]
    own = law.tensors[weight][1]
    packed = codes.get(weight, ("", ()))[0] == "U8"
    if key != weight:
        wanted: tuple[str, tuple[int, ...]] = ("F32", (-(-prod(own) // BLOCK),))
        if not packed:
            return ["has no code that it scales"]
    else:
        wanted = ("U8", (-(-prod(own) // 2), 1)) if packed else ("F32", own)
        if packed and (len(own) != 4 or weight + ABSMAX not in codes):
            return [
                "has no scales" if len(own) == 4 else "is packed, but its weight is not the kernel of a convolution"
            ]
    if (dtype, shape) != wanted:
        return [f"is {dtype} {list(shape)}, expected {wanted[0]} {list(wanted[1])}"]
    return []


def decode_codes(law: Bundle, codes: Mapping[str, Array]) -> dict[str, Array]:
    """Decode own codes: key of a weight -> float32 of the weight's shape.

    Written for numpy alone, so that it checks the decoder that workers use.

    Args:
        law: The law.
        codes: Key without the precision -> tensor.
    """
    decoded = {}
    for key, code in codes.items():
        if key not in law.tensors:
            continue  # scales
        shape = law.tensors[key][1]
        if code.dtype == np.uint8:
            o, i, h, w = shape
            indices = np.stack([code.reshape(-1) >> 4, code.reshape(-1) & 15], axis=-1).reshape(-1)[: prod(shape)]
            flat = NF4_LEVELS[indices] * np.repeat(codes[key + ABSMAX], BLOCK)[: prod(shape)]
            code = flat.reshape(o, h, w, i).transpose(0, 3, 1, 2)
        decoded[key] = code
    return decoded


def digest_of_codes(decoded: Mapping[str, Array]) -> str:
    """Return the sha256 of decoded weights: for every key in order, its name, its shape and its float32 bytes."""
    whole = hashlib.sha256()
    for key in sorted(decoded):
        value = np.ascontiguousarray(decoded[key], dtype="<f4")
        whole.update(f"{key} {list(value.shape)}\n".encode())
        whole.update(value.tobytes())
    return whole.hexdigest()
