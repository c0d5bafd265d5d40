"""Laws damaged on purpose; the gate must refuse them, or a pass would mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.loading import load_weights

BLOCK = 64  # weights that share a scale, as in NF4


def zeroed(law: Bundle, share: float, folder: Path, seed: int = 0) -> Bundle:
    """Write a copy of the law to `folder` with a random share of its weights set to zero."""
    generator = torch.Generator().manual_seed(seed)
    return _changed(law, folder, lambda w: w * (torch.rand(w.shape, generator=generator) >= share))


def in_two_bits(law: Bundle, folder: Path) -> Bundle:
    """Write a copy of the law with its matrices rounded to -1, -1/3, 1/3, 1 times the largest weight of each block."""

    def rounded(weight: Tensor) -> Tensor:
        if weight.ndim < 2:
            return weight
        flat = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
        largest = flat.abs().amax(1, keepdim=True).clamp_min(1e-30)
        levels = ((flat / largest * 1.5 - 0.5).round().clamp(-2, 1) + 0.5) / 1.5
        return (levels * largest).flatten()[: weight.numel()].view_as(weight)

    return _changed(law, folder, rounded)


def _changed(law: Bundle, folder: Path, change: Callable[[Tensor], Tensor]) -> Bundle:
    weights = {key: change(w) if w.is_floating_point() else w for key, w in load_weights(law).items()}
    folder.mkdir(parents=True, exist_ok=True)
    plain = law.manifest.model_copy(update={"codes": {}})  # own codes are those of the weights before the change
    (folder / MANIFEST).write_text(plain.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    save_file({key: w.contiguous() for key, w in weights.items()}, folder / WEIGHTS)
    return read_bundle(folder)
