"""Lists the architectures of laws as plain data, so that the API can check a manifest without importing torch.

A new architecture is one file in `leym/laws/networks/` and one `Architecture` here. Other packages register theirs
under the entry point group `leym.laws`, see `leym.laws`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any


@dataclass(frozen=True)
class Option:
    """A choice that a law's manifest makes for its network: one of `allowed`, or a number from `low` to `high`.

    An option without a default must be given in the manifest: it is one that the weights do not reveal.
    """

    allowed: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    default: Any = None

    def accepts(self, value: Any) -> bool:
        """Tell whether the option may have this value; types must match too, so True is not 1."""
        if self.allowed:
            return any(value == choice and type(value) is type(choice) for choice in self.allowed)
        return type(value) in (int, float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"one of {list(self.allowed)}" if self.allowed else f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Architecture:
    """Describes a network to the service, without loading it.

    Attributes:
        name: Name in manifests.
        network: "module:Class"; the class takes (d_state, hidden_channels, **options).
        form: How the output becomes the update, unless the import of a checkpoint says otherwise: see `Manifest.form`.
        grid_multiple: Number that must divide both sides of a grid.
        encoder: Beginning of the keys of the first layer; None if it has no role of its own.
        head: Beginning of the keys of the last layer. The precision policy treats encoder and head apart.
        frozen: Beginnings of the keys of constants, which stay exact in every precision.
        memory: Whether the network takes and returns a memory besides x.
        options: Name -> option.
    """

    name: str
    network: str
    form: str
    grid_multiple: int
    encoder: str | None
    head: str
    frozen: tuple[str, ...] = ()
    memory: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


_BUILT_IN = (
    Architecture("UNET", "leym.laws.networks.unet:UNet", "additive", 4, "inc.", "outc."),
    Architecture("UNET_UNITARY", "leym.laws.networks.unet:UNet", "diagonal", 4, "inc.", "outc."),
    Architecture("UNET_UNITARY_RMSNORM", "leym.laws.networks.unet_rmsnorm:UNetRMSNorm", "additive", 4, "inc.", "outc."),
    Architecture(
        "UNET_UNITARIA", "leym.laws.networks.unet_antisymmetric:UNetAntisymmetric", "antisymmetric", 4, "inc.", "outc."
    ),
    Architecture(
        "UNET_CONVLSTM", "leym.laws.networks.unet_convlstm:UNetConvLSTM", "additive", 4, "inc.", "outc.", memory=True
    ),
    Architecture(
        "SNN_UNET",
        "leym.laws.networks.snn_unet:SNNUNet",
        "additive",
        1,
        "conv1.",
        "conv_out.",
        options={"antialias": Option((False, True))},
    ),
    Architecture("MLP", "leym.laws.networks.mlp:MLP", "additive", 1, "net.0.", "net.4."),
    Architecture(
        "DEEP_QCA",
        "leym.laws.networks.deep_qca:DeepQCA",
        "additive",
        1,
        "processing_net.0.",
        "processing_net.4.",
        frozen=("conv_neighbors.",),
    ),
    Architecture(
        "DEEP_QCA_FIVE_LAYERS",
        "leym.laws.networks.deep_qca_five_layers:DeepQCAFiveLayers",
        "additive",
        1,
        "processing_net.0.",
        "processing_net.8.",
        frozen=("conv_neighbors.",),
    ),
    Architecture(
        "LENIA",
        "leym.laws.networks.lenia:Lenia",
        "additive",
        1,
        None,
        "kernel.",
        options={"padding": Option(("periodic",), default="periodic")},
    ),
    Architecture(
        "NCA",
        "leym.laws.networks.nca:NCA",
        "additive",
        1,
        None,
        "net.2.",
        frozen=("perceive.",),
        options={
            "perception": Option(("fixed", "learned"), default="fixed"),
            "padding": Option(("zero", "periodic"), default="zero"),
            "update_rate": Option(low=0.01, high=1.0, default=1.0),
        },
    ),
)


@cache
def architectures() -> dict[str, Architecture]:
    """Return name -> architecture: those of this package, then those that installed packages register."""
    known = {a.name: a for a in _BUILT_IN}
    for entry in entry_points(group="leym.laws"):
        architecture = entry.load()
        known[architecture.name] = architecture
    return known
