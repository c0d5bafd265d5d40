"""The architecture and the options of a checkpoint are recognised, or asked for where they are ambiguous."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.numpy import load_file

from leym.laws.architectures import architectures
from leym.laws.bundle import WEIGHTS
from leym.laws.importing.convert import import_law
from tests.support.checkpoints import (
    REQUIRED,
    refused,
    same,
    save,
    weights,
)


@pytest.mark.parametrize("name", architectures())
def test_a_bare_state_dict_tells_its_architecture_where_only_one_fits(name, tmp_path):
    state = weights(name, 3, 8, **REQUIRED.get(name, {}))
    path = save(tmp_path / "law.pth", {f"module._orig_mod.{key}": value for key, value in state.items()})
    said = {"resize_antialias": False} if name == "SNN_UNET" else {}
    if name in ("UNET", "UNET_UNITARY"):  # the same network: nothing but the name tells how its output is used
        refused(422, "UNET and UNET_UNITARY", "architecture", path=path, name="x", target=tmp_path)
        said = {"architecture": name}
    law = import_law(path, "x", target=tmp_path / "laws", **said)
    assert law.manifest.architecture == name
    assert law.manifest.form == architectures()[name].form
    assert all(same(array, state[key]) for key, array in load_file(law.path / WEIGHTS).items())


def test_what_contradicts_is_named(tmp_path):
    state = weights("UNET", 3, 8)
    path = save(tmp_path / "a" / "law.pth", state)
    call = {"path": path, "name": "x", "target": tmp_path / "laws"}
    refused(422, "architecture = 'MLP'", "UNET", architecture="MLP", **call)
    refused(422, "'NOPE'", "known", architecture="NOPE", **call)
    refused(422, "d_state = 4", "have 3", architecture="UNET", d_state=4, **call)
    refused(422, "hidden_channels = 9", "have 8", architecture="UNET", hidden_channels=9, **call)
    refused(422, "form = 'antisymmetric'", "6 channels", form="antisymmetric", **call)
    refused(422, "resize_antialias", architecture="UNET", resize_antialias=True, **call)
    config = path.with_name("config.json")
    config.write_text(json.dumps({"MODEL_ARCHITECTURE": "UNET", "MODEL_PARAMS": {"d_state": 8, "hidden_channels": 8}}))
    refused(422, "d_state = 8 in the config", "have 3", **call)
    config.write_text(json.dumps({"MODEL_ARCHITECTURE": "DEEP_QCA"}))
    refused(422, "MODEL_ARCHITECTURE of the config", "DEEP_QCA", **call)
    config.write_text("[]")
    refused(422, "config.json", "list", **call)
    config.unlink()
    state["extra"], state["up1.bias"] = torch.zeros(1), torch.zeros(3)
    del state["outc.bias"]
    save(path, state)
    refused(
        422, "missing key 'outc.bias'", "unexpected key 'extra'", "'up1.bias' has shape [3]", form="diagonal", **call
    )
    state = weights("MLP", 2, 4)
    state["net.0.bias"][1] = torch.nan
    refused(422, "net.0.bias", "not finite", **call | {"path": save(path, state)})
    refused(422, "no architecture", **call | {"path": save(path, {"a": torch.zeros(1)})})
    refused(422, "name", **call | {"path": save(path, weights("MLP", 2, 4)), "name": "../x"})
    assert not (tmp_path / "laws").exists() or not list((tmp_path / "laws").iterdir())


def test_the_antisymmetric_variant_is_recognised_and_asked_for_where_it_is_ambiguous(tmp_path):
    law = import_law(save(tmp_path / "a.pth", weights("UNET_UNITARIA", 3, 8)), "a", target=tmp_path)
    assert (law.manifest.architecture, law.manifest.form) == ("UNET_UNITARIA", "antisymmetric")
    call = {"path": save(tmp_path / "b.pth", weights("UNET_UNITARY", 2, 4)), "target": tmp_path / "laws"}
    refused(422, "d_state = 2", "form", name="b", **call)
    refused(422, "d_state = 2", "form", name="b", architecture="UNET_UNITARY", **call)
    for form, name in (("antisymmetric", "UNET_UNITARIA"), ("diagonal", "UNET_UNITARY"), ("additive", "UNET")):
        law = import_law(name=form, form=form, **call)
        assert (law.manifest.architecture, law.manifest.form) == (name, form)
    first = weights("UNET_UNITARIA", 4, 8)  # of d = 8 real channels: 8 * 8 outputs
    first["outc.weight"], first["outc.bias"] = torch.zeros(64, 8, 1, 1), torch.zeros(64)
    refused(422, "64 channels", "real states", path=save(tmp_path / "c.pth", first), name="c", target=tmp_path)


def test_a_spiking_law_asks_how_it_was_shrunk(tmp_path):
    state = weights("SNN_UNET", 2, 4, antialias=True)
    path = save(
        tmp_path / "snn.pth", state | {"lif1.reset_mechanism_val": torch.tensor(0)}
    )  # an integer, as snntorch has
    refused(422, "resize_antialias", "torchvision", path=path, name="x", target=tmp_path)
    law = import_law(path, "x", target=tmp_path, resize_antialias=True)
    assert law.manifest.options == {"antialias": True}
