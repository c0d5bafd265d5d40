"""Laws for tests: the oracle laws with their reference trajectories, and small ones made on the spot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from tests.support.paths import ORACLE

FORMS = {
    "unet": "additive",
    "unet_unitary": "diagonal",
    "unet_unitary_rmsnorm": "additive",
    "unet_convlstm": "additive",
    "snn_unet": "additive",
    "mlp": "additive",
    "deep_qca": "additive",
}
TOLERANCE = {1: 1e-5, 2: 1e-4, 10: 1e-3}  # of a trajectory, by its steps


@dataclass(frozen=True)
class Oracle:
    """A law with random weights and the trajectory that the reference implementation gives it."""

    bundle: Bundle
    psi: dict[int, np.ndarray]  # step -> complex64 [H, W, d]
    gamma: float
    memory: dict[int, np.ndarray]  # step -> float32 [8c, H/4, W/4] of a law that has one


def write_law(folder: Path, weights: dict[str, np.ndarray], **manifest: Any) -> Bundle:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: np.array(value, order="C") for key, value in weights.items()}, folder / WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(Manifest(name=folder.name, **manifest).model_dump()))
    return read_bundle(folder)


def oracle(name: str, folder: Path) -> Oracle:
    with np.load(ORACLE / f"{name}.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
        weights = {key[2:]: arrays[key] for key in arrays if key.startswith("w:")}
        psi = {int(key[4:]): arrays[key] for key in arrays if key.startswith("psi_")}
        steps = [int(key[2:]) for key in arrays if key.startswith("h_")]
        memory = {n: np.concatenate([arrays[f"h_{n}"], arrays[f"c_{n}"]]) for n in steps}
    kind = {key: meta[key] for key in ("architecture", "d_state", "hidden_channels")}
    if meta["architecture"] == "SNN_UNET":
        kind["options"] = {"antialias": meta["resize_antialias"]}
    return Oracle(write_law(folder / name, weights, form=FORMS[name], **kind), psi, meta["gamma"], memory)


def deviation(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of two states. A law of thresholds may flip a spike by rounding: under 0.1 % of cells are let
    off there."""
    largest = np.abs(found - expected).max(-1)
    if name == "snn_unet" and (largest > 1e-5).mean() < 1e-3:
        return 0.0
    return float(largest.max())


def random_law(
    folder: Path,
    architecture: str,
    *,
    d: int = 2,
    c: int = 4,
    form: str = "additive",
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> Bundle:
    """A law with weights as torch draws them, out-bias 0 and out-weight std 1: alive."""
    import torch

    from leym.laws.loading import empty_network

    said = {"architecture": architecture, "d_state": d, "hidden_channels": c, "form": form, "options": options or {}}
    manifest = Manifest(name=folder.name, **said)
    torch.manual_seed(seed)
    network = type(empty_network(manifest))(d, c, **manifest.network_options)
    head = network.get_submodule(manifest.architecture_info.head.rstrip("."))
    torch.nn.init.normal_(head.weight)
    torch.nn.init.zeros_(head.bias)
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    return write_law(folder, weights, **said)


def growing_law(folder: Path, seed: int = 0, **manifest: Any) -> Bundle:
    """A growing NCA as Mordvintsev et al. have it, untrained: no constraint, a living mask, half of the cells at once.

    The fourth of its eight real channels says how alive a cell is. Its changes are small, so that it stays finite, and
    its cells come to life by and by.
    """
    law = random_law(folder / "drawn", "NCA", d=4, c=16, seed=seed, options={"update_rate": 0.5})
    weights = load_file(law.path / WEIGHTS)
    weights["net.2.weight"] *= 0.02
    weights["net.2.bias"][3] = 0.06
    said = law.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form", "options"})
    said |= {"constraint": "none", "living": {"channel": 3, "above": 0.1}}
    return write_law(folder / "growing", weights, **(said | manifest))


def lively_law(folder: Path) -> Bundle:
    """A small chaotic law: the twofold head shortens its memory, so that few members tell much."""
    law = random_law(folder / "drawn", "UNET")
    weights = load_file(law.path / WEIGHTS)
    weights[f"{law.manifest.architecture_info.head.rstrip('.')}.weight"] *= 2
    said = law.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form", "options"})
    return write_law(folder / "lively", weights, **said)


def linear_law(folder: Path, matrix: np.ndarray, offset: tuple[int, int] = (0, 0)) -> Bundle:
    """An NCA on a periodic grid that computes psi'(x) = M psi(x - offset), normalised, at gamma = 0.01.

    matrix: M, float [2d, 2d], in the real channels; offset: in cells, each of -1, 0, 1.
    """
    channels = len(matrix)
    said = {"architecture": "NCA", "d_state": channels // 2, "hidden_channels": 2 * channels, "form": "additive"}
    weights = {
        "perceive.weight": np.zeros((4 * channels, 1, 3, 3), np.float32),
        "net.0.weight": np.zeros((2 * channels, 4 * channels, 1, 1), np.float32),
        "net.0.bias": np.full(2 * channels, 4, np.float32),  # ELU is linear above 0
        "net.2.weight": np.zeros((channels, 2 * channels, 1, 1), np.float32),
    }
    i = np.arange(channels)
    weights["perceive.weight"][4 * i, 0, 1 - offset[0], 1 - offset[1]] = 1
    weights["perceive.weight"][4 * i + 1, 0, 1, 1] = 1
    weights["net.0.weight"][i, 4 * i, 0, 0] = weights["net.0.weight"][channels + i, 4 * i + 1, 0, 0] = 1
    weights["net.2.weight"][:, :channels, 0, 0] = matrix
    weights["net.2.weight"][i, channels + i, 0, 0] = -0.99  # what the step keeps of the old state
    weights["net.2.bias"] = -4 * weights["net.2.weight"].sum((1, 2, 3))
    options = {"perception": "learned", "padding": "periodic"}
    return write_law(folder, weights, options=options, **said)


def turning(angle: float) -> np.ndarray:
    """The matrix, float [4, 4], that turns channel 0 into channel 1 by an angle in radians."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.kron(np.eye(2), turn)
