"""Laws: the learned networks that say how cells change, stored as files, found by name and pinned by digest.

Everything in `__all__` is public: it is what a package needs that brings an architecture of its own.

Where a new architecture goes:

- Into this package: `leym/laws/networks/NAME.py` holds the network, one entry in `leym/laws/architectures.py` describes
  it, and `leym/laws/importing/expected_shapes.py` lists its shapes if checkpoints are to be imported.
- Into a package of its own, with no change here: it defines an `Architecture` (plain data, free of torch) and the
  network that this names, and registers the `Architecture` under the entry point group `leym.laws`:

    # pyproject.toml
    [project.entry-points."leym.laws"]
    shift = "shift_law:SHIFT"

    # shift_law/__init__.py: free of torch, because the API loads it
    from leym.laws import Architecture, Option

    SHIFT = Architecture(
        name="SHIFT",  # the name in manifests
        network="shift_law.network:Shift",  # imported by workers only
        form="additive",  # how the output becomes the update, see `Manifest.form`
        grid_multiple=1,  # a number that must divide both sides of the grid
        encoder="first.",  # beginning of the keys of the first layer
        head="last.",  # beginning of the keys of the last layer
        options={"bias": Option((False, True), default=True)},
    )

    # shift_law/network.py
    from torch import Tensor, nn
    from leym.laws import Conv

    class Shift(nn.Module):
        def __init__(self, d_state: int, hidden_channels: int, *, bias: bool):
            super().__init__()
            self.first = Conv(2 * d_state, hidden_channels, 3, padding=1, bias=bias)
            self.last = Conv(hidden_channels, 2 * d_state, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

Requirements for a network:

- The class takes `(d_state, hidden_channels, **options)`; options come as keywords.
- `forward(x)` maps the real state, float32 [B, 2d, H, W] (real parts, then imaginary parts), to y, float [B, 2d, H, W],
  or [B, d * d, H, W] in the antisymmetric form. Universes of a batch must not influence each other.
- With `memory=True`, `forward(x, memory)` returns y and the next memory. Both memories are float32 [B, *shape], and
  `memory_shape(grid)` returns the shape for one universe.
- Two options have the same meaning in every architecture. `padding` is the boundary of the grid, "zero" or "periodic".
  `update_rate` is the share of the cells that change in a step; below 1, `forward` takes another argument `uniform`,
  float32 [B, 1, H, W] in [0, 1), the job's own random numbers. A network draws no random numbers by itself.
- Weights may be held in 16 bits. `Conv` and `UpConv` cast their input to the dtype of their weight, and `Norm` computes
  in float32. Other layers must do the same.
- `torch.compile(fullgraph=True)` must be able to trace it.
- Optional: `folded()` returns a module that computes the same function faster. `per_cell_weights()` returns the weights
  of a per-cell law (`leym.laws.networks.per_cell`), so that a fused kernel can compute its steps.

Importing this package loads neither torch nor safetensors; names that need them are loaded at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leym.laws.architectures import Architecture, Option, architectures

if TYPE_CHECKING:
    from leym.laws.bundle import Bundle, Manifest, read_bundle
    from leym.laws.loading import check_weights, empty_network, load_weights
    from leym.laws.networks.blocks import Conv, ConvBlock, Norm, UpConv

__all__ = [
    "Architecture",
    "Bundle",
    "Conv",
    "ConvBlock",
    "Manifest",
    "Norm",
    "Option",
    "UpConv",
    "architectures",
    "check_weights",
    "empty_network",
    "load_weights",
    "read_bundle",
]

_MODULES = {
    **dict.fromkeys(("Conv", "ConvBlock", "Norm", "UpConv"), "leym.laws.networks.blocks"),
    **dict.fromkeys(("Bundle", "Manifest", "read_bundle"), "leym.laws.bundle"),
    **dict.fromkeys(("check_weights", "empty_network", "load_weights"), "leym.laws.loading"),
}


def __getattr__(name: str) -> Any:
    """Load a public name that needs torch or safetensors, at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
