"""A law may set formats of its own; `leym laws quantize` checks them before it writes."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch

from leym.cli.local.quantize import app as quantize_command
from leym.cli.local.quantize import quantize
from leym.contract.problems import Problem
from leym.engine.device import pick_device
from leym.laws.bundle import MANIFEST, read_bundle
from leym.laws.loading import load_weights
from leym.laws.registry import Registry
from leym.laws.variants import write_variant
from leym.laws.verdicts import cheapest_passing
from leym.quantization.policy import formats_of, policy_for
from leym.quantization.quantized_law import quantize_law
from tests.support.command import leym_here
from tests.support.laws import random_law


@pytest.fixture
def data(tmp_path):
    random_law(tmp_path / "laws" / "some", "NCA", d=2, c=8)  # a fixed point
    return tmp_path


def files(data):
    return sorted(str(p) for p in data.rglob("*"))


def test_policy_entries_apply_to_exactly_the_weights_they_match(tmp_path):
    net = random_law(tmp_path / "net", "UNET")
    wanted = formats_of(net, "nf4")
    assert set(wanted.values()) == {"nf4", "int8", "16"}
    assert not any("bias" in key for key in wanted)
    for key in wanted:
        formats = wanted | {key: "fp32"}
        made = write_variant(net, tmp_path / key, "nf4", policy_for(net, "nf4", formats))
        assert formats_of(made, "nf4") == formats
    own = write_variant(net, tmp_path / "own", "nf4", {"down": "int8", "down1.": "bf16"})
    formats = formats_of(own, "nf4") | {"down1.1.conv_block.0.weight": "nf4"}
    again = write_variant(own, tmp_path / "again", "nf4", policy_for(own, "nf4", formats))
    assert formats_of(again, "nf4") == formats
    assert formats["down1.1.conv_block.3.weight"] == "bf16"


def test_a_key_does_not_apply_to_a_longer_key_with_its_own_entry(data):
    law = read_bundle(data / "laws" / "some")
    short, long = "net.0.weight", "net.0.weight_v"
    vars(law)["tensors"] = dict.fromkeys((short, long), ("F32", (8, 8, 1, 1)))
    policy = policy_for(law, "nf4", {short: "int8", long: "nf4"})
    law = dataclasses.replace(law, manifest=law.manifest.model_copy(update={"policy": {"nf4": policy}}))
    vars(law)["tensors"] = dict.fromkeys((short, long), ("F32", (8, 8, 1, 1)))
    assert formats_of(law, "nf4") == {short: "int8", long: "nf4"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("net.9=int8", "net.9 = 'int8': some has no such role or matrix; its roles: backbone, head, vector; its m"),
        ("encoder=nf4", "encoder = 'nf4': some has no such role"),
        ("net.0.bias=int8", "(norms, biases and constants follow their role)"),
        ("frozen=bf16", "frozen = 'bf16': some has no such role"),
        ("head=int4", "head = 'int4': it must be one of nf4, int8, bf16, 16, fp32"),
        ("vector=nf4", "vector = 'nf4': it must be one of bf16, 16, fp32"),
        ("head", "set = 'head': it must be KEY_OR_ROLE=FORMAT"),
        ("backbone=nf4", "already has these formats in nf4"),
    ],
)
def test_quantize_refuses(data, change, words, capsys):
    before = files(data)
    with pytest.raises(SystemExit) as ended:
        quantize_command(["some", "--set", change, "--data", str(data)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert files(data) == before


def test_quantize_makes_an_unverified_version(data):
    law = read_bundle(data / "laws" / "some")
    report = quantize(law, "nf4", [], data)
    assert report["kept"] is None
    assert {x["key"]: x["format"] for x in report["layers"]}["net.0.weight"] == "nf4"
    with pytest.raises(Problem, match="it needs --set"):
        quantize(law, "nf4", [], data, "other")
    found = quantize(law, "nf4", ["net.0.=int8", "head=fp32", "vector=bf16"], data)
    kept = Registry(data / "laws").resolve("some")
    assert kept.ref == found["kept"] != law.ref
    assert cheapest_passing(kept, data=data) == "fp32"
    layers = {x["key"]: x for x in found["layers"]}
    assert [layers[f"net.{k}"]["format"] for k in ("0.weight", "2.weight", "0.bias")] == ["int8", "fp32", "bf16"]
    assert 0 < layers["net.0.weight"]["error"] < 0.02
    in_fp32 = pick_device().operands == torch.float32  # otherwise decoding rounds float32 weights
    assert layers["net.2.weight"]["error"] == 0 if in_fp32 else 0 < layers["net.2.weight"]["error"] < 2**-8
    quantized = quantize_law(kept, load_weights(kept), "nf4", torch.float32)
    assert quantized.bytes_at_rest == sum(x["bytes_at_rest"] for x in found["layers"])
    assert quantize(law, "nf4", ["net.0.=int8", "head=fp32", "vector=bf16"], data)["kept"] == kept.ref


@pytest.mark.slow
def test_the_command_says_that_the_version_is_unverified(data):
    run = leym_here("laws", "quantize", "some", "--set", "net.0.=int8", "--name", "mine", "--data", str(data))
    assert run.returncode == 0, run.stderr
    assert "unverified" in run.stdout
    assert re.search(r"net\.0\.weight +backbone +int8", run.stdout)
    manifest = json.loads((data / "laws" / "mine" / MANIFEST).read_text())
    assert manifest["policy"] == {"nf4": {"net.0.": "int8"}}
