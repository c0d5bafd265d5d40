"""Laws damaged on purpose: what the gate must refuse, or a pass would mean nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.network import load_weights


def zeroed(law: Bundle, share: float, folder: Path, seed: int = 0) -> Bundle:
    """A copy of the law in `folder` with this share of its weights, chosen at random, set to zero."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, value in load_weights(law).items():
        kept = torch.rand(value.shape, generator=generator) >= share
        weights[key] = (value * kept if value.is_floating_point() else value).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(law.path / MANIFEST, folder / MANIFEST)
    save_file(weights, folder / WEIGHTS)
    return read_bundle(folder)
