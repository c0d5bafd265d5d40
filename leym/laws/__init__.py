"""Laws: the networks that say how cells change, as files that are found by name and pinned by digest.

A package of its own can bring an architecture. It needs two things, an `Architecture` (data, free of torch) and the
network that it names:

    # pyproject.toml
    [project.entry-points."leym.laws"]
    shift = "shift_law:SHIFT"

    # shift_law/__init__.py: free of torch, because the API loads it
    from leym.laws import Architecture, Option

    SHIFT = Architecture(
        name="SHIFT",  # as manifests spell it
        network="shift_law.network:Shift",  # imported by workers only
        form="additive",  # how the output becomes the update, see `Manifest.form`
        grid_multiple=1,  # both sides of a grid are divisible by it
        encoder="first.",  # beginnings of the keys of the first and of the last layer
        head="last.",
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

What the service asks of a network:

- The class takes `(d_state, hidden_channels, **options)`, every option by keyword.
- `forward(x)` maps the real state, float32 [B, 2d, H, W] (real parts, then imaginary parts), to y, float [B, 2d, H, W],
  or [B, d * d, H, W] in the antisymmetric form. Universes of a batch must not influence each other.
- With `memory=True` it is `forward(x, memory) -> (y, next_memory)`, both memories float32 [B, *shape], and
  `memory_shape(grid)` returns that shape of one universe.
- Two options mean the same everywhere: `padding` ("zero" or "periodic") says what lies outside the grid, `update_rate`
  which share of the cells moves in a step. With a rate below 1, `forward` takes another argument `uniform`, float32
  [B, 1, H, W] in [0, 1): the job's own random numbers. A network draws none by itself.
- Weights may be held in 16 bits. `Conv` and `UpConv` cast their input to the dtype of their weight; `Norm` computes in
  float32. Layers of other kinds must do the same.
- `torch.compile(fullgraph=True)` must be able to trace it.
- Optional: `folded()` returns a module that computes the same faster; `cells()` lets fused kernels step a per-cell law.

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

_HOME = {
    **dict.fromkeys(("Conv", "ConvBlock", "Norm", "UpConv"), "leym.laws.networks.blocks"),
    **dict.fromkeys(("Bundle", "Manifest", "read_bundle"), "leym.laws.bundle"),
    **dict.fromkeys(("check_weights", "empty_network", "load_weights"), "leym.laws.loading"),
}


def __getattr__(name: str) -> Any:
    """Load a public name that needs torch or safetensors."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
