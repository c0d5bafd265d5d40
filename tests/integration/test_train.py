"""`leym train` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leym.laws.bundle import read_bundle
from leym.laws.registry import SHIPPED, Registry
from leym.training import checkpoint
from tests.support.command import leym

RECIPE = """
name = "small-spirals"
[law]
architecture = "NCA"
d_state = 1
hidden_channels = 8
options = { padding = "periodic" }
[objective]
kind = "teacher"
teacher = "kuramoto"
age = 3
[train]
updates = 1000
grid = [8, 8]
batch = 2
pool = 4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_a_recipe_becomes_a_law_of_the_data_folder(recipe, tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"
    done = leym("train", str(recipe), "--out", str(out), "--updates", "6", "--add", "--data", str(data))
    assert done.returncode == 0, done.stderr
    ref = done.stdout.splitlines()[-1]
    law = Registry(SHIPPED, data / "laws").resolve(ref)
    assert law.ref == ref == read_bundle(out / "law").ref
    assert law.manifest.provenance["recipe"]["train"]["updates"] == 6
    assert (out / "curve.csv").read_text().startswith("update,loss,")
    in_json = leym("train", str(recipe), "--out", str(out), "--updates", "6", "--resume", "--json")
    said = json.loads(in_json.stdout)
    assert (said["law"], said["path"]) == (ref, str(out / "law"))
    assert said["last"] == law.manifest.provenance["last"]
    again = leym("train", str(recipe), "--out", str(out), "--updates", "6", "--resume")
    assert again.stdout.splitlines()[-1] == str(out / "law"), "a training that has ended has nothing left to do"


def test_an_unfinished_training_is_not_overwritten(recipe, tmp_path):
    (tmp_path / checkpoint.FILE).write_bytes(b"of hours")
    refused = leym("train", str(recipe), "--out", str(tmp_path))
    assert refused.returncode == 2
    assert "--resume continues it" in refused.stderr
    assert (tmp_path / checkpoint.FILE).read_bytes() == b"of hours"


def test_a_wrong_recipe_is_refused(recipe, tmp_path):
    recipe.write_text(RECIPE.replace("hidden_channels = 8", "hidden_channels = 0"))
    refused = leym("train", str(recipe), "--out", str(tmp_path / "out"))
    assert refused.returncode == 2
    assert "law.hidden_channels = 0" in refused.stderr
    assert not (tmp_path / "out").exists()
