"""What a law weighs: the report against the tensors themselves, and a law's own formats."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from leym.engine.memory_report import inspect
from leym.laws.bundle import MANIFEST, Manifest, read_bundle
from leym.laws.loading import load_weights
from leym.quantization.quantized_law import quantize_law
from tests.support.command import leym_here
from tests.support.laws import random_law


@pytest.fixture
def law(tmp_path):
    return random_law(tmp_path / "laws" / "some", "UNET_CONVLSTM", d=4, c=16)


def with_policy(law, policy):
    manifest = json.loads((law.path / MANIFEST).read_text()) | {"policy": policy}
    (law.path / MANIFEST).write_text(json.dumps(manifest))
    return read_bundle(law.path)


def test_the_report_adds_up(law):
    found = inspect(law, "nf4", (16, 32), slots=8)
    weights = load_weights(law)
    layers = {layer["key"]: layer for layer in found["layers"]}
    assert layers.keys() == weights.keys()
    assert sum(layer["bytes_at_rest"] for layer in layers.values()) == found["memory"]["weights_at_rest"]
    assert sum(layer["bytes_resident"] for layer in layers.values()) == found["memory"]["weights_resident"]
    assert sum(role["parameters"] for role in found["roles"].values()) == law.parameters
    backbone = found["roles"]["backbone"]
    assert backbone["bytes_at_rest"] / backbone["parameters"] <= 0.57
    assert layers["conv_gates.weight"]["format"] == "nf4"
    assert 0.05 < layers["conv_gates.weight"]["error"] < 0.12
    assert layers["inc.conv_block.1.weight"]["error"] == 0
    state, memory = 3 * 8 * 16 * 32 * 4, 8 * 16 * 4 * 8 * 4  # three copies of [2d, H, W]; h and c [8c, H/4, W/4]
    assert found["memory"]["state"] == 8 * (state + memory)


def test_a_laws_own_formats_come_first_and_change_its_digest(law):
    own = with_policy(law, {"nf4": {"bot.": "bf16", "bot.conv_block.3.weight": "fp32", "head": "int8"}})
    assert own.digest != law.digest
    formats = {x.key: x.format for x in quantize_law(own, load_weights(own), "nf4", torch.bfloat16).layers}
    assert formats["bot.conv_block.0.weight"] == "bf16"
    assert formats["bot.conv_block.3.weight"] == "fp32"
    assert formats["outc.weight"] == "int8"
    assert formats["conv_gates.weight"] == "nf4"
    assert formats["bot.conv_block.1.weight"] == "fp32", "norms follow their role"
    assert {x.format for x in quantize_law(own, load_weights(own), "int8", torch.bfloat16).layers} == {"int8", "fp32"}


def test_unknown_formats_and_precisions_are_refused():
    kind = {"name": "x", "architecture": "MLP", "d_state": 2, "hidden_channels": 4, "form": "additive"}
    for policy in ({"nf4": {"head": "int2"}}, {"fp32": {"head": "nf4"}}, {"nf5": {}}):
        with pytest.raises(ValidationError, match="policy"):
            Manifest(**kind, policy=policy)


@pytest.mark.slow
def test_the_command_shows_layers_and_memory(law, tmp_path):
    run = leym_here("laws", "inspect", "some", "--grid", "16", "16", LEYM_DATA=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert "conv_gates.weight" in run.stdout
    assert "not measured here" in run.stdout
    unknown = leym_here("laws", "inspect", "nothing")
    assert unknown.returncode == 1
    assert "there is no law 'nothing'" in unknown.stderr
