"""A recipe is read strictly: errors name the key, its value and what is expected."""

from __future__ import annotations

import subprocess
import sys

import pytest

from leym.contract.initial import Smooth
from leym.laws.bundle import Manifest
from leym.training.recipe import Recipe, read_recipe
from tests.support.training import RECIPE, recipe


def written(tmp_path, text: str):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("updates = 60", "updates = 0", r"train.updates = 0: .*greater than or equal to 1"),
        ("updates = 60", 'updates = "60"', r"train.updates = '60': .*valid integer"),
        ("updates = 60", "update = 60", r"train.update = 60: Extra inputs"),
        ("horizon = 4", "horizon = [8, 4]", "the smaller one first"),
        ("batch = 4", "batch = 32", "pool = 16: at least batch = 32"),
        ("grid = [8, 8]", "grid = [8]", r"train.grid = \[8\]"),
        ('"NCA"', '"NCB"', "law: unknown architecture 'NCB'; known: UNET"),
        ('"periodic"', '"reflecting"', "options.padding = 'reflecting'"),
        ('kind = "teacher"', 'kind = "nothing"', "objective"),
        ('teacher = "turning"', "", "objective.*teacher: Field required"),
        ('name = "turning"\n\n', 'name = "a b"\n\n', "name = 'a b'"),
        ("[law]", "[law", "not a TOML file"),
    ],
)
def test_wrong_keys_and_values_are_named(old, new, match, tmp_path):
    assert old in RECIPE
    with pytest.raises(ValueError, match=match):
        read_recipe(written(tmp_path, RECIPE.replace(old, new, 1)))


def test_a_grid_that_does_not_fit_the_law_is_refused():
    law = {"architecture": "UNET", "options": {}}
    assert recipe(law=law, train={"grid": [8, 8]})
    with pytest.raises(ValueError, match=r"train.grid = \[8, 10\]: UNET needs multiples of 4"):
        recipe(law=law, train={"grid": [8, 10]})


def test_values_of_the_command_line_replace_those_of_the_file(tmp_path):
    found = read_recipe(written(tmp_path, RECIPE), updates=90)
    assert found.train.updates == 90
    assert found.train.horizons == (4, 4)


def test_the_digest_is_that_of_everything_that_decides_the_weights():
    assert recipe().digest == recipe(train={"seed": 0}).digest
    assert recipe().digest != recipe(train={"seed": 1}).digest
    assert recipe().digest == recipe().model_copy(update={"name": "other"}).digest


def test_recipes_are_read_without_torch():
    code = "import sys, leym.training.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_start_state_keeps_its_kind_in_manifest_and_provenance():
    law = {"architecture": "MLP", "d_state": 1, "hidden_channels": 4, "start": {"kind": "smooth", "re": [0, 1]}}
    found = Recipe.model_validate({"name": "x", "law": law, "objective": {"kind": "teacher", "teacher": "kuramoto"}})
    manifest = found.manifest({"recipe": found.as_dict()})
    again = Manifest.model_validate_json(manifest.model_dump_json(exclude_defaults=True))
    assert again.default_start == manifest.default_start == Smooth(re=(0, 1))
    assert Recipe.model_validate(again.provenance["recipe"]) == found
