"""Rows of the table of verdicts: a law with own codes stands beside its nearest rounding."""

from __future__ import annotations

import torch

from benchmarks.fidelity_table import arms, markdown
from leym.contract.fidelity_plan import PLANS
from leym.laws.loading import load_weights
from leym.quantization.codes import own_codes, write_with_codes
from leym.quantization.nf4 import NF4
from leym.quantization.policy import formats_of
from leym.quantization.quantized_law import quantize_law
from tests.support.laws import random_law


def test_own_codes_are_judged_beside_nearest_rounding(tmp_path):
    law = random_law(tmp_path / "law", "UNET", c=8)
    key = next(key for key, form in formats_of(law, "nf4").items() if form == "nf4")
    weight = load_weights(law)[key]
    coded = write_with_codes(law, tmp_path / "coded", "nf4", {key: NF4.encode(weight * 1.1)})
    found = arms(coded, PLANS["small"], tmp_path / "arms")
    assert list(found) == ["nf4, own codes", "nf4, nearest", "int8", "bf16"]
    nearest = found["nf4, nearest"].law
    assert own_codes(coded, "nf4").keys() == {key}
    assert not own_codes(nearest, "nf4")
    for name, tensor in load_weights(nearest).items():
        assert torch.equal(tensor, load_weights(coded)[name])
    sizes = [quantize_law(x, load_weights(x), "nf4", torch.float32).bytes_at_rest for x in (coded, nearest, law)]
    assert len(set(sizes)) == 1
    assert list(arms(law, PLANS["small"], tmp_path / "none")) == ["nf4", "int8", "bf16"]


def test_rows_of_earlier_files_have_neither_arm_nor_power():
    row = {"law": "a", "precision": "nf4", "bytes": 10, "bytes_fp32": 40, "verdict": "pass", "failed": []}
    row |= {"undecided": [], "alive": True, "metrics": {"activity": [0.01, -0.01, 0.03, 0.5, 90]}}
    last = markdown([row]).splitlines()[-1]
    assert last == "| a | nf4 | 10 (25% of fp32) | pass | +1.0% [-1.0%, +3.0%] | none | none |  |"
    new = markdown([row | {"arm": "nf4, own codes", "power": 0.5}]).splitlines()[-1]
    assert "| nf4, own codes | 10 (25% of fp32) | pass, with power 0.50 only |" in new
