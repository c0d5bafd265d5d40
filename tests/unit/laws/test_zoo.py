"""The laws that come with the service: each is whole, is what its recipe makes, and stays alive."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.zoo import CURVE, EXHIBITS, LAWS, PREVIEW, RECIPE, start_states
from leym.laws.bundle import read_bundle
from leym.laws.loading import empty_network, load_weights
from leym.physics.philox import uniform
from leym.physics.step import step
from leym.training.recipe import read_recipe
from tests.support.paths import ROOT

TRAINED = sorted(path.parent.name for path in LAWS.glob(f"*/{RECIPE}"))
LARGEST = 2 * 2**20  # bytes of a law's folder
ONE = pytest.mark.parametrize("name", TRAINED)


def test_the_zoo_is_the_laws_with_a_recipe_and_they_are_of_several_kinds():
    assert sorted(EXHIBITS) == TRAINED
    kinds = {read_bundle(LAWS / name).manifest.architecture for name in TRAINED}
    assert {"NCA", "DEEP_QCA", "UNET_UNITARY", "UNET_CONVLSTM"} <= kinds


@ONE
def test_a_law_is_what_its_recipe_makes(name):
    law, recipe = read_bundle(LAWS / name), read_recipe(LAWS / name / RECIPE)
    made = recipe.manifest()
    same = {"name", "architecture", "d_state", "hidden_channels", "form", "options", "constraint", "living", "start"}
    assert law.manifest.model_dump(include=same) == made.model_dump(include=same)
    assert law.manifest.provenance["recipe"] == recipe.as_dict()
    load_weights(law)  # which checks every key and shape


@ONE
def test_a_folder_is_small_and_has_a_curve_and_an_animation(name):
    folder = LAWS / name
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= LARGEST
    with (folder / CURVE).open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["update"]) == read_recipe(folder / RECIPE).train.updates
    losses = np.array([float(row["loss"]) for row in rows])
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()
    with Image.open(folder / PREVIEW) as picture:
        assert getattr(picture, "n_frames", 1) >= 50
    assert f"## {name}\n" in (ROOT / "docs" / "zoo.md").read_text()


@ONE
def test_a_law_stays_finite_and_in_motion(name: str, tmp_path: Path):
    law = read_bundle(LAWS / name)
    manifest, network = law.manifest, empty_network(law.manifest)
    network.load_state_dict(load_weights(law), strict=True, assign=True)
    x, gamma = start_states(law, (32, 32), [1, 2]), torch.full((2, 1, 1, 1), 0.01)
    shape = network.memory_shape((32, 32)) if manifest.architecture_info.memory else None
    memory = torch.zeros(2, *shape) if shape else None
    bounds = {"constraint": manifest.constraint, "living": manifest.living, "periodic": manifest.boundary == "periodic"}
    seeds = torch.tensor([1, 2])
    for clock in range(60):
        before = x
        draws = uniform(seeds, torch.tensor([clock, clock]), (32, 32)) if manifest.stochastic else None
        x, memory, finite = step(network, manifest.form, x, gamma, memory, draws, **bounds)
        assert finite.all(), clock
    assert float((x - before).abs().mean()) > 1e-4
    assert float(x.abs().max()) < 10


def test_the_pages_animations_are_cut_from_the_laws_present_ones():
    """After a law's `preview.webp` has changed: `python -m benchmarks.page_assets`."""
    cut = json.loads((ROOT / "app/static/zoo/sources.json").read_text())
    previews = {path.parent.name: path for path in (ROOT / "laws").glob("*/preview.webp")}
    assert cut == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in previews.items()}
    assert {path.stem for path in (ROOT / "app/static/zoo").glob("*.webp")} == set(previews)
