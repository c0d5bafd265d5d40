"""Lists the tensors of every architecture: key -> shape, by d_state and hidden_channels. Torch-free.

The API checks uploads with this table. The networks define the truth:
`tests/unit/laws/importing/test_expected_shapes.py` compares the table with every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

Shapes = dict[str, tuple[int, ...]]


class Sizes(NamedTuple):
    """The two sizes of a network: `d` is d_state, `c` is hidden_channels."""

    d: int
    c: int


def expected_shapes(architecture: str, d: int, c: int) -> Shapes | None:
    """Return key -> shape of a network with these sizes.

    None: the architecture belongs to another package, and only its network knows the shapes.
    """
    table = _TABLES.get(architecture)
    return None if table is None else table(d, c)


def matching_architectures(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the architectures whose layers have these keys: none, one, or several that share their keys."""
    if "outc.weight" in shapes and "inc.conv_block.0.weight" in shapes:
        if "conv_gates.weight" in shapes:
            return ["UNET_CONVLSTM"]
        if "inc.conv_block.1.bias" not in shapes:
            return ["UNET_UNITARY_RMSNORM"]
        return ["UNET", "UNET_UNITARY", "UNET_UNITARIA"]
    for key, architecture in _DISTINCTIVE_KEYS.items():
        if key in shapes:
            return [architecture]
    return []


def measured_sizes(architecture: str, shapes: Mapping[str, tuple[int, ...]]) -> Sizes | None:
    """Return the sizes that the first layer shows; None if it is missing or has an impossible shape."""
    if architecture == "LENIA":  # its kernels are [2 d, 1, 2 c + 1, 2 c + 1]
        kernel = shapes["kernel.weight"]
        fits = len(kernel) == 4 and kernel[0] >= 2 and kernel[0] % 2 == 0 and kernel[2] >= 3 and kernel[2] % 2 == 1
        return Sizes(kernel[0] // 2, kernel[2] // 2) if fits else None
    key, channels_per_d = _FIRST_LAYER[architecture]
    shape = shapes.get(key, ())
    if len(shape) != 4 or shape[1] < channels_per_d or shape[1] % channels_per_d or shape[0] < 1:
        return None
    return Sizes(shape[1] // channels_per_d, shape[0])


_DISTINCTIVE_KEYS = {
    "conv_bottom.weight": "SNN_UNET",
    "M_bias_real": "DEEP_QCA_FIVE_LAYERS",  # before DEEP_QCA, whose first layer has the same key
    "processing_net.0.weight": "DEEP_QCA",
    "perceive.weight": "NCA",
    "kernel.weight": "LENIA",
    "net.4.weight": "MLP",
}

# Key of the first layer, whose weight is [c, n * d, k, k], and n.
_FIRST_LAYER = {
    "UNET": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARY": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARIA": ("inc.conv_block.0.weight", 2),
    "UNET_UNITARY_RMSNORM": ("inc.conv_block.0.weight", 2),
    "UNET_CONVLSTM": ("inc.conv_block.0.weight", 2),
    "SNN_UNET": ("conv1.weight", 2),
    "MLP": ("net.0.weight", 2),
    "DEEP_QCA": ("processing_net.0.weight", 16),
    "DEEP_QCA_FIVE_LAYERS": ("processing_net.0.weight", 16),
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
    """Return the shapes of a Sequential of 1x1 convolutions with an activation between two of them."""
    shapes: Shapes = {}
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= _layer(f"{name}.{2 * i}", (outputs, inputs, 1, 1), outputs)
    return shapes


def _mlp(d: int, c: int) -> Shapes:
    return _pointwise("net", (2 * d, c, c, 2 * d))


def _deep_qca(d: int, c: int) -> Shapes:
    return _pointwise("processing_net", (16 * d, c, c, 2 * d)) | {"conv_neighbors.weight": (16 * d, 1, 3, 3)}


def _deep_qca_five_layers(d: int, c: int) -> Shapes:
    layers = _pointwise("processing_net", (16 * d, c, c, c, c, 8 * d))
    weights = {key: shape for key, shape in layers.items() if key.endswith("weight")}
    return weights | {"conv_neighbors.weight": (16 * d, 1, 3, 3), "M_bias_real": (d,), "M_bias_imag": (d,)}


def _lenia(d: int, c: int) -> Shapes:
    side = 2 * c + 1
    return {"kernel.weight": (2 * d, 1, side, side), "mu": (2 * d,), "sigma": (2 * d,), "dt": (1,)}


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
    "DEEP_QCA_FIVE_LAYERS": _deep_qca_five_layers,
    "LENIA": _lenia,
    "NCA": _nca,
}
