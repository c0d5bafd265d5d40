"""Which networks a law may be: data only, so that the API can read a manifest without importing torch.

A new architecture is one file and one `Architecture`; packages outside this one register theirs under the entry point
group `leym.laws`.
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

    Without a default the manifest must say it, because weights alone do not tell.
    """

    allowed: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    default: Any = None

    def accepts(self, value: Any) -> bool:
        if self.allowed:
            return any(value == choice and type(value) is type(choice) for choice in self.allowed)
        return type(value) in (int, float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"one of {list(self.allowed)}" if self.allowed else f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Architecture:
    """What the service must know of a network before it loads it.

    `network` is "module:Class"; the class takes (d_state, hidden_channels, **options). `encoder` and `head` are the
    key prefixes of the first and the last layer, which the precision policy treats apart from the backbone; `frozen`
    prefixes are constants that are exact in every precision. A network with a memory takes and returns it beside x.
    """

    name: str
    network: str
    form: str  # how the output becomes the update when a checkpoint does not say
    grid_multiple: int
    encoder: str | None
    head: str
    frozen: tuple[str, ...] = ()
    memory: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


_OWN = (
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
    """Every architecture by name: our own, then those of installed packages (an `Architecture` each)."""
    known = {a.name: a for a in _OWN}
    for entry in entry_points(group="leym.laws"):
        architecture = entry.load()
        known[architecture.name] = architecture
    return known
