"""Which networks a law may be: data only, so that the API can read a manifest without importing torch.

A new architecture is one file and one `Architecture`; packages outside this one register theirs under the entry point
group `leym.laws`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points


@dataclass(frozen=True)
class Architecture:
    """What the service must know of a network before it loads it.

    `network` is "module:Class"; the class takes (d_state, hidden_channels). `encoder` and `head` are the key prefixes
    of the first and the last layer, which the precision policy treats apart from the backbone; `frozen` prefixes are
    constants that are exact in every precision.
    """

    name: str
    network: str
    form: str  # how the output becomes the update when a checkpoint does not say: "additive" or "diagonal"
    grid_multiple: int
    encoder: str
    head: str
    frozen: tuple[str, ...] = ()


_OWN = (
    Architecture("UNET", "leym.laws.unet:UNet", "additive", 4, "inc.", "outc."),
    Architecture("UNET_UNITARY", "leym.laws.unet:UNet", "diagonal", 4, "inc.", "outc."),
    Architecture("MLP", "leym.laws.mlp:MLP", "additive", 1, "net.0.", "net.4."),
    Architecture(
        "DEEP_QCA",
        "leym.laws.deep_qca:DeepQCA",
        "additive",
        1,
        "processing_net.0.",
        "processing_net.4.",
        frozen=("conv_neighbors.",),
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
