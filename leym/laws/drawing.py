"""Draws laws with random weights, without torch: the same seed gives the same law everywhere.

Hidden layers have the weights that torch gives them before training, U(-1/sqrt(n), 1/sqrt(n)) for n inputs. The last
layer has weights N(0, 1) and no bias, so that the update is strong enough to keep a universe moving.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from leym.contract.problems import invalid
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle

Boundary = Literal["periodic", "zero"]
Layers = list[tuple[str, int, int]]
_SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
_IDENTITY = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_LAPLACIAN = np.array([[1, 2, 1], [2, -12, 2], [1, 2, 1]], np.float32) / 16


def drawn_law(
    folder: Path, architecture: str, d_state: int, hidden: int, seed: int, boundary: Boundary = "periodic"
) -> Bundle:
    """Write a law with random weights to a folder.

    Args:
        folder: an empty or missing folder.
        architecture: one of DRAWN.
        d_state: complex channels of a cell.
        hidden: width of the network.
        seed: of the weights.
        boundary: of the grid; only NCA has a periodic one.

    Raises:
        Problem: 422 for an architecture that cannot be drawn, or a boundary that it does not have.
    """
    if architecture not in DRAWN:
        raise invalid(f"architecture = {architecture!r}: it must be one of {', '.join(DRAWN)}", "/architecture")
    if boundary == "periodic" and architecture != "NCA":
        raise invalid(f"boundary = 'periodic': {architecture} has the boundary zero; NCA has both", "/boundary")
    manifest = Manifest(
        name=drawn_name(architecture, d_state, hidden, seed, boundary),
        architecture=architecture,
        d_state=d_state,
        hidden_channels=hidden,
        form="additive",
        options={"padding": boundary} if architecture == "NCA" else {},
        description=f"Random weights, seed {seed}",
        provenance={"drawn": {"by": "leym.laws.drawing", "seed": seed}},
    )
    random = np.random.Generator(np.random.PCG64(seed))
    weights = _FROZEN[architecture](2 * d_state)
    for key, inputs, outputs in DRAWN[architecture](2 * d_state, hidden):
        is_head = f"{key}." == manifest.architecture_info.head
        bound = 1 / sqrt(inputs)
        weight = (
            random.standard_normal((outputs, inputs)) if is_head else random.uniform(-bound, bound, (outputs, inputs))
        )
        weights[f"{key}.weight"] = weight.astype(np.float32)[..., None, None]
        weights[f"{key}.bias"] = np.zeros(outputs, np.float32)
        if not is_head:
            weights[f"{key}.bias"] = random.uniform(-bound, bound, outputs).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    return read_bundle(folder)


def drawn_name(architecture: str, d_state: int, hidden: int, seed: int, boundary: str) -> str:
    """Return the name of a drawn law, which says how to draw it again."""
    return f"drawn-{architecture.lower().replace('_', '')}-{boundary}-{d_state}x{hidden}-{seed}"


def _perception(channels: int) -> dict[str, NDArray[Any]]:
    filters = np.stack([_IDENTITY, _SOBEL, _SOBEL.T, _LAPLACIAN])
    return {"perceive.weight": np.tile(filters, (channels, 1, 1))[:, None]}


def _neighbours(channels: int) -> dict[str, NDArray[Any]]:
    stencils = np.ones((8 * channels, 1, 3, 3), np.float32)
    stencils[:, :, 1, 1] = 0
    return {"conv_neighbors.weight": stencils}


# architecture -> pointwise layers of (2 d, hidden): key, inputs, outputs
DRAWN: dict[str, Callable[[int, int], Layers]] = {
    "NCA": lambda c, h: [("net.0", 4 * c, h), ("net.2", h, c)],
    "MLP": lambda c, h: [("net.0", c, h), ("net.2", h, h), ("net.4", h, c)],
    "DEEP_QCA": lambda c, h: [
        ("processing_net.0", 8 * c, h),
        ("processing_net.2", h, h),
        ("processing_net.4", h, c),
    ],
}
_FROZEN: dict[str, Callable[[int], dict[str, NDArray[Any]]]] = {
    "NCA": _perception,
    "MLP": lambda c: {},
    "DEEP_QCA": _neighbours,
}
