"""Laws with random weights, drawn without torch, are laws of their architecture, and the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leym.contract.problems import Problem
from leym.laws.bundle import WEIGHTS
from leym.laws.drawing import DRAWN, drawn_law
from leym.laws.importing.checks import check_bundle
from leym.laws.loading import empty_network


@pytest.mark.parametrize("architecture", DRAWN)
def test_a_drawn_law_fits_its_network(architecture: str, tmp_path: Path) -> None:
    law = drawn_law(tmp_path / "law", architecture, 3, 20, 5, "periodic" if architecture == "NCA" else "zero")
    check_bundle(law)
    weights = load_file(tmp_path / "law" / WEIGHTS)
    network = type(empty_network(law.manifest))(3, 20, **law.manifest.network_options)
    missing = network.load_state_dict(weights, strict=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    for key in law.manifest.architecture_info.frozen:
        expected = type(network)(3, 20, **law.manifest.network_options).state_dict()[f"{key}weight"]
        assert torch.equal(weights[f"{key}weight"], expected), "constants are those of the architecture"
    head = weights[f"{law.manifest.architecture_info.head}weight"]
    assert 0.7 < head.std() < 1.3


def test_the_same_seed_gives_the_same_law_and_others_differ(tmp_path: Path) -> None:
    laws = [drawn_law(tmp_path / str(i), "NCA", 3, 32, seed) for i, seed in enumerate((1, 1, 2))]
    assert laws[0].digest == laws[1].digest != laws[2].digest
    assert laws[0].digest.startswith("9b90a60bb5b8b602"), "old draws must come again on every machine"
    assert laws[0].name == "drawn-nca-periodic-3x32-1"


def test_refusals_name_the_architecture_and_the_boundary(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="it must be one of NCA, MLP, DEEP_QCA"):
        drawn_law(tmp_path / "a", "UNET", 2, 4, 0)
    with pytest.raises(Problem, match="MLP has the boundary zero"):
        drawn_law(tmp_path / "b", "MLP", 2, 4, 0, "periodic")
