"""Which tensors a law has, by architecture, d_state and hidden_channels: without torch, for whoever takes laws in.

The networks themselves are the truth; `tests/unit/laws/importing/test_expected_shapes.py` compares the table with each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

Shapes = dict[str, tuple[int, ...]]


class Sizes(NamedTuple):
    d: int  # d_state
    c: int  # hidden_channels


def expected(architecture: str, d: int, c: int) -> Shapes | None:
    """Key -> shape; None for an architecture of another package, whose weights only its network can judge."""
    table = _TABLES.get(architecture)
    return None if table is None else table(d, c)


def families(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The architectures whose layers these keys belong to; several where the keys are the same."""
    if "outc.weight" in shapes and "inc.conv_block.0.weight" in shapes:
        if "conv_gates.weight" in shapes:
            return ["UNET_CONVLSTM"]
        if "inc.conv_block.1.bias" not in shapes:
            return ["UNET_UNITARY_RMSNORM"]
        return ["UNET", "UNET_UNITARY", "UNET_UNITARIA"]
    for key, architecture in _TELLING.items():
        if key in shapes:
            return [architecture]
    return []


def sizes(architecture: str, shapes: Mapping[str, tuple[int, ...]]) -> Sizes | None:
    """d_state and hidden_channels from the first layer; None when it is missing or has an impossible shape."""
    key, per_d = _FIRST[architecture]
    shape = shapes.get(key, ())
    if len(shape) != 4 or shape[1] < per_d or shape[1] % per_d or shape[0] < 1:
        return None
    return Sizes(shape[1] // per_d, shape[0])


_TELLING = {
    "conv_bottom.weight": "SNN_UNET",
    "processing_net.0.weight": "DEEP_QCA",
    "perceive.weight": "NCA",
    "net.4.weight": "MLP",
}

# The first layer, [c, n d, k, k], and n.
_FIRST = {
    "UNET": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARY": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARIA": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARY_RMSNORM": ("inc.conv_block.0.weight", 2),
    "UNET_CONVLSTM": ("inc.conv_block.0.weight", 2),
    "SNN_UNET": ("conv1.weight", 2),
    "MLP": ("net.0.weight", 2),
    "DEEP_QCA": ("processing_net.0.weight", 16),
    "NCA": ("net.0.weight", 8),
}


def _unet(d: int, c: int, outputs: int | None = None, norm: tuple[str, ...] = ("weight", "bias")) -> Shapes:
    blocks = {
        "inc": (2 * d, c),
        "down1.1": (c, 2 * c),
        "down2.1": (2 * c, 4 * c),
        "bot": (4 * c, 8 * c),
        "conv_up1": (6 * c, 4 * c),
        "conv_up2": (3 * c, c),
    }
    shapes: Shapes = {}
    for block, (inputs, outs) in blocks.items():
        shapes[f"{block}.conv_block.0.weight"] = (outs, inputs, 3, 3)
        shapes[f"{block}.conv_block.3.weight"] = (outs, outs, 3, 3)
        for layer in (1, 4):
            shapes |= {f"{block}.conv_block.{layer}.{part}": (outs,) for part in norm}
    shapes |= _layer("up1", (8 * c, 4 * c, 2, 2), 4 * c) | _layer("up2", (4 * c, 2 * c, 2, 2), 2 * c)
    outputs = 2 * d if outputs is None else outputs
    return shapes | _layer("outc", (outputs, c, 1, 1), outputs)


def _antisymmetric(d: int, c: int) -> Shapes:
    return _unet(d, c, outputs=d * d)


def _rmsnorm(d: int, c: int) -> Shapes:
    return _unet(d, c, norm=("weight",))


def _convlstm(d: int, c: int) -> Shapes:
    return _unet(d, c) | _layer("conv_gates", (16 * c, 8 * c, 3, 3), 16 * c)


def _snn(d: int, c: int) -> Shapes:
    shapes = (
        _layer("conv1", (c, 2 * d, 3, 3), c)
        | _layer("conv_bottom", (2 * c, c, 3, 3), 2 * c)
        | _layer("upconv", (2 * c, c, 2, 2), c)
        | _layer("conv2", (c, 2 * c, 3, 3), c)
        | _layer("conv_out", (2 * d, c, 1, 1), 2 * d)
    )
    for neuron in ("lif1", "lif_bottom", "lif2", "lif_out"):
        shapes |= {f"{neuron}.{part}": () for part in ("threshold", "graded_spikes_factor", "reset_mechanism_val")}
        shapes[f"{neuron}.beta"] = ()
    return shapes


def _pointwise(name: str, widths: tuple[int, ...]) -> Shapes:
    """1x1 convolutions with one activation between two of them."""
    shapes: Shapes = {}
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= _layer(f"{name}.{2 * i}", (outputs, inputs, 1, 1), outputs)
    return shapes


def _mlp(d: int, c: int) -> Shapes:
    return _pointwise("net", (2 * d, c, c, 2 * d))


def _deep_qca(d: int, c: int) -> Shapes:
    return _pointwise("processing_net", (16 * d, c, c, 2 * d)) | {"conv_neighbors.weight": (16 * d, 1, 3, 3)}


def _nca(d: int, c: int) -> Shapes:
    return _pointwise("net", (8 * d, c, 2 * d)) | {"perceive.weight": (8 * d, 1, 3, 3)}


def _layer(name: str, weight: tuple[int, ...], bias: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": (bias,)}


_TABLES: dict[str, Callable[[int, int], Shapes]] = {
    "UNET": _unet,
    "UNET_UNITARY": _unet,
    "UNET_UNITARIA": _antisymmetric,
    "UNET_UNITARY_RMSNORM": _rmsnorm,
    "UNET_CONVLSTM": _convlstm,
    "SNN_UNET": _snn,
    "MLP": _mlp,
    "DEEP_QCA": _deep_qca,
    "NCA": _nca,
}
