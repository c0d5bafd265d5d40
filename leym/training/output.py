"""Writes a trained law as a bundle, with the recipe it was trained by in its provenance."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

import leym
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.loading import check_weights
from leym.training.recipe import Recipe
from leym.training.trained_law import TrainedLaw

LAW = "law"  # folder of the bundle inside the output folder


def write_law(recipe: Recipe, law: TrainedLaw, last: Mapping[str, float], out: Path) -> Bundle:
    """Write the bundle of a trained law into `out`/law, in place of one that is there.

    The same recipe gives the same digest wherever it gives the same weights: nothing in the provenance is a time, a
    path or a duration.

    Args:
        recipe: What the law was trained by.
        law: The law.
        last: Values of the last row of its curve.
        out: Folder of the training's output.
    """
    provenance = {
        "made_by": f"leym train {leym.__version__}",
        "recipe": recipe.as_dict(),
        "torch": torch.__version__,
        "last": {name: float(f"{value:.6g}") for name, value in last.items()},
    }
    manifest = recipe.manifest(provenance)
    weights = {key: value.detach().cpu().contiguous() for key, value in law.network.state_dict().items()}
    check_weights(manifest, weights)
    prepared, place = out / f".{LAW}", out / LAW
    for old in (prepared, place):
        shutil.rmtree(old, ignore_errors=True)
    prepared.mkdir()
    save_file(weights, prepared / WEIGHTS)
    (prepared / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    prepared.rename(place)
    return read_bundle(place)
