"""The kernel of a convolution as a matrix, in the order in which NF4 puts its weights into blocks.

A convolution computes y[r] = sum over k of W[r, k] u[k] for vectors u of its input:

    Conv2d           r = output channel o              k = (kh, kw, i), u: the patch around a cell
    ConvTranspose2d  r = (kh, kw, o)                   k = input channel i, u: one cell

`NF4.encode` flattens a kernel [A, B, kh, kw] as (A, kh, kw, B). That is W by rows for a convolution, whose kernel is
[o, i, kh, kw], and by columns for a transposed one, whose kernel is [i, o, kh, kw].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import unfold

from leym.quantization.nf4 import BLOCK

Convolution = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True)
class Layer:
    """A convolution whose kernel is stored in NF4.

    Attributes:
        key: Key of the kernel.
        module: The convolution, which is changed in place.
    """

    key: str
    module: Convolution

    @property
    def transposed(self) -> bool:
        """True for a transposed convolution."""
        return isinstance(self.module, nn.ConvTranspose2d)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernel."""
        return tuple(self.module.weight.shape)

    def matrix(self, kernel: Tensor) -> Tensor:
        """Return the kernel as W, float [R, K]."""
        return self.from_flat(kernel.permute(0, 2, 3, 1).reshape(-1))

    def from_flat(self, flat: Tensor) -> Tensor:
        """Return values in the order of the blocks, [n], as a matrix [R, K]."""
        rows = flat.view(self.shape[0], -1)
        return rows.T.contiguous() if self.transposed else rows

    def to_flat(self, matrix: Tensor) -> Tensor:
        """Return a matrix [R, K] in the order of the blocks, [n]."""
        return (matrix.T if self.transposed else matrix).reshape(-1)

    def kernel(self, matrix: Tensor) -> Tensor:
        """Return a matrix [R, K] as a kernel."""
        a, b, h, w = self.shape
        return self.to_flat(matrix).view(a, h, w, b).permute(0, 3, 1, 2)

    def vectors(self, x: Tensor) -> Tensor:
        """Return the vectors u of an input [N, C, H, W]: float [N * cells, K].

        Raises:
            ValueError: The convolution has groups, so its rows do not share their inputs.
        """
        module = self.module
        if module.groups != 1:
            raise ValueError(f"{self.key}: {module.groups} groups; only convolutions without groups can be calibrated")
        if isinstance(module, nn.ConvTranspose2d):
            return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            raise ValueError(
                f"{self.key}: padding {module.padding!r}, {module.padding_mode}; it must be zeros by number"
            )
        size = (module.kernel_size[0], module.kernel_size[1])
        patches = unfold(x, size, module.dilation, module.padding, module.stride)  # [N, (i, kh, kw), cells]
        split = patches.view(len(x), x.shape[1], size[0] * size[1], -1)
        return split.permute(0, 3, 2, 1).reshape(-1, x.shape[1] * size[0] * size[1])


def per_weight(absmax: Tensor, n: int) -> Tensor:
    """Return the scale of every weight, float32 [n], from the scales of the blocks."""
    return absmax.repeat_interleave(BLOCK)[:n]
