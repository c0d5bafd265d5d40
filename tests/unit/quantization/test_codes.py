"""A law with codes of its own runs exactly those; anything that does not fit is named, and fp32 stays the parent's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from leym.contract.problems import Problem
from leym.engine.device import pick_device
from leym.engine.step.resident_law import ResidentLaw
from leym.fidelity.controls import zeroed
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.importing.checks import check_bundle
from leym.laws.loading import load_codes, load_weights
from leym.laws.own_codes import NF4_LEVELS
from leym.laws.variants import write_variant
from leym.quantization.codes import own_codes, write_with_codes
from leym.quantization.nf4 import BLOCK, LEVELS, NF4
from leym.quantization.policy import formats_of, unchanged
from leym.quantization.quantized_law import quantize_law
from tests.support.laws import random_law

KEY, NORM = "bot.conv_block.0.weight", "bot.conv_block.1.bias"


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return random_law(tmp_path_factory.mktemp("laws") / "unet", "UNET", d=2, c=4)


def other_codes(law: Bundle) -> dict[str, torch.Tensor | NF4]:
    """Codes that nearest rounding would never choose, for every NF4 weight, and another bias of a norm."""
    generator, weights = torch.Generator().manual_seed(5), load_weights(law)
    codes: dict[str, torch.Tensor | NF4] = {}
    for key, form in formats_of(law, "nf4").items():
        if form == "nf4":
            nearest = NF4.encode(weights[key])
            indices = torch.randint(0, 16, nearest.indices.shape, generator=generator)
            codes[key] = NF4.from_indices(indices, nearest.absmax * 0.9, nearest.shape)
    return codes | {NORM: weights[NORM] + 0.5}


@pytest.fixture(scope="module")
def coded(law: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("coded") / "law"
    return write_with_codes(law, folder, "nf4", other_codes(law), provenance={"calibration": {"seed": 1}})


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (3, 5, 1, 1), (5, 7, 3, 1), (16, 64, 2, 2)])
def test_indices_and_packed_bytes_are_each_others_inverse(shape):
    encoded = NF4.encode(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    again = NF4.from_indices(encoded.indices, encoded.absmax, shape)
    assert torch.equal(again.packed, encoded.packed)
    assert torch.equal(again.absmax, encoded.absmax)
    flat = LEVELS[encoded.indices.long()] * encoded.absmax.repeat_interleave(BLOCK)[: encoded.indices.numel()]
    o, i, h, w = shape
    assert torch.equal(flat.view(o, h, w, i).permute(0, 3, 1, 2), encoded.decode(torch.float32))
    assert torch.equal(LEVELS, torch.from_numpy(NF4_LEVELS))


def test_a_precision_with_own_codes_decodes_to_exactly_these_at_unchanged_bytes(law, coded):
    codes, weights = other_codes(law), load_weights(coded)
    quantized = quantize_law(coded, weights, "nf4", torch.bfloat16)
    plain = quantize_law(law, load_weights(law), "nf4", torch.bfloat16)
    assert quantized.bytes_at_rest == plain.bytes_at_rest
    decoded, of_plain = quantized.decode(torch.float32), plain.decode(torch.float32)
    for key, weight in decoded.items():
        code = codes.get(key)
        wanted = code.decode(torch.float32) if isinstance(code, NF4) else of_plain[key] if code is None else code
        assert torch.equal(weight, wanted), key
    resident = ResidentLaw(quantized, pick_device("cpu"), on_degraded=lambda _: None)
    state = resident.network.state_dict()
    assert torch.equal(state[KEY].float(), codes[KEY].decode(pick_device("cpu").operands).float())


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
def test_other_precisions_are_those_of_the_parent(law, coded, precision):
    assert same(load_weights(law), load_weights(coded))
    of_law, of_coded = (quantize_law(x, load_weights(x), precision, torch.bfloat16) for x in (law, coded))
    assert same(of_law.decode(torch.float32), of_coded.decode(torch.float32))


def test_the_digest_covers_the_codes_and_other_laws_keep_theirs(law, coded, tmp_path):
    assert coded.digest != law.digest
    assert coded.parameters == law.parameters
    assert coded.tensors.keys() == law.tensors.keys()
    assert "codes" not in json.loads(
        (random_law(tmp_path / "a", "MLP").manifest).model_dump_json(exclude_defaults=True)
    )
    again = write_with_codes(law, tmp_path / "again", "nf4", other_codes(law), provenance={"calibration": {"seed": 1}})
    assert (again.path / WEIGHTS).read_bytes() == (coded.path / WEIGHTS).read_bytes()
    assert again.digest == coded.digest
    changed = other_codes(law)
    changed[NORM] = changed[NORM] + 1.0
    assert write_with_codes(law, tmp_path / "c", "nf4", changed).manifest.codes != coded.manifest.codes


def damaged(coded: Bundle, folder: Path, change) -> Bundle:
    """A copy of the law after `change` of its tensors, which it may return anew."""
    folder.mkdir()
    tensors = load_file(coded.path / WEIGHTS)
    save_file(change(tensors) or tensors, folder / WEIGHTS)
    (folder / MANIFEST).write_bytes((coded.path / MANIFEST).read_bytes())
    return read_bundle(folder)


def put(key: str, value: torch.Tensor):
    return lambda tensors: tensors.update({key: value})


WRONG = {
    "of no weight": put("nf4.nothing.weight", torch.zeros(3)),
    "no code that it scales": put("nf4.outc.weight.absmax", torch.zeros(1)),
    "has no scales": lambda tensors: {k: v for k, v in tensors.items() if k != f"nf4.{KEY}.absmax"},
    "U8 [3, 1], expected U8": put(f"nf4.{KEY}", torch.zeros(3, 1, dtype=torch.uint8)),
    "I32 [4], expected F32": put(f"nf4.{NORM}", torch.zeros(4, dtype=torch.int32)),
    "F32 [7], expected F32": put(f"nf4.{KEY}.absmax", torch.zeros(7)),
    "no tensor nf4.*": lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("nf4.")},
}


@pytest.mark.parametrize("words", WRONG)
def test_a_code_that_does_not_fit_is_named(coded, tmp_path, words):
    broken = damaged(coded, tmp_path / "law", WRONG[words])
    for read in (load_weights, check_bundle, lambda x: load_codes(x, "nf4")):
        with pytest.raises(Problem) as caught:
            read(broken)
        assert words in caught.value.detail


@pytest.mark.parametrize("where", [f"nf4.{KEY}", f"nf4.{KEY}.absmax", f"nf4.{NORM}"])
def test_codes_that_decode_to_other_weights_are_refused_and_never_encoded_again(coded, tmp_path, where):
    def flip(tensors):
        value = tensors[where]
        value.view(-1)[0] = value.view(-1)[0] ^ 0x10 if value.dtype == torch.uint8 else value.view(-1)[0] * 1.001

    broken = damaged(coded, tmp_path / "law", flip)
    assert broken.digest != coded.digest
    with pytest.raises(Problem, match="sha256"):
        quantize_law(broken, load_weights(broken), "nf4", torch.float32)
    quantize_law(broken, load_weights(broken), "int8", torch.float32)  # the weights themselves are whole


def test_values_that_are_not_finite_and_codes_of_constants_are_refused(coded, tmp_path):
    broken = damaged(coded, tmp_path / "nan", put(f"nf4.{NORM}", torch.full((32,), np.nan)))
    with pytest.raises(Problem, match="not finite"):
        load_codes(broken, "nf4")
    with pytest.raises(Problem, match="not finite"):
        check_bundle(broken)
    nca = random_law(tmp_path / "nca", "NCA")
    with pytest.raises(Problem, match="constant"):
        write_with_codes(nca, tmp_path / "new", "nf4", {"perceive.weight": load_weights(nca)["perceive.weight"]})


def test_a_code_must_fit_the_policy(law, tmp_path):
    weights = load_weights(law)
    with pytest.raises(Problem, match=r"outc\.weight' is packed NF4, but the policy stores the weight as 16"):
        write_with_codes(law, tmp_path / "a", "nf4", {"outc.weight": NF4.encode(weights["outc.weight"])})
    with pytest.raises(Problem, match="is plain, but the policy stores the weight as nf4"):
        write_with_codes(law, tmp_path / "b", "nf4", {KEY: weights[KEY]})


def test_a_variant_keeps_the_codes_of_weights_whose_format_stays(law, coded, tmp_path):
    policy = {KEY: "int8"}
    kept = write_variant(coded, tmp_path / "kept", "nf4", policy, keep_codes=unchanged(coded, "nf4", policy))
    found, before = own_codes(kept, "nf4"), own_codes(coded, "nf4")
    assert found.keys() == before.keys() - {KEY}
    plain = quantize_law(law, load_weights(law), "int8", torch.float32).decode(torch.float32)
    decoded = quantize_law(kept, load_weights(kept), "nf4", torch.float32).decode(torch.float32)
    of_coded = quantize_law(coded, load_weights(coded), "nf4", torch.float32).decode(torch.float32)
    assert all(torch.equal(decoded[key], (plain if key == KEY else of_coded)[key]) for key in decoded)
    dropped = write_variant(coded, tmp_path / "dropped", "nf4", policy)
    assert dropped.manifest.codes == {}
    assert not own_codes(dropped, "nf4")
    assert same(load_weights(dropped), load_weights(law))
    other = write_variant(coded, tmp_path / "other", "int8", {"backbone": "bf16"})
    assert own_codes(other, "nf4").keys() == before.keys()


def test_a_damaged_copy_of_a_law_with_codes_has_none(coded, tmp_path):
    hurt = zeroed(coded, 0.5, tmp_path / "hurt")
    assert hurt.manifest.codes == {}
    assert not torch.equal(load_weights(hurt)[KEY], load_weights(coded)[KEY])
