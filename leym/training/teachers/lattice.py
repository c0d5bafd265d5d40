"""Neighbour sums and differences on the grid, elementwise, so that a universe does not depend on its batch.

All take float [..., H, W]. Padding "periodic" is a torus; with "zero" a neighbour outside the grid contributes nothing,
which makes the Laplacian that of walls without flux.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leym.training.teachers.base import Padding

STEEPEST = 16 / 3  # of the 9-point Laplacian: minus its most negative eigenvalue


def neighbours(x: Tensor, padding: Padding, edge: float = 1.0, corner: float = 0.0) -> Tensor:
    """Sum the 8 neighbours of each cell, those across an edge with one weight, those across a corner with another."""
    rows = _padded(x, -2, padding)
    above, below = rows[..., :-2, :], rows[..., 2:, :]
    beside = _padded(x, -1, padding)
    total = edge * (above + below + beside[..., :-2] + beside[..., 2:])
    if not corner:
        return total
    columns = _padded(above + below, -1, padding)
    return total + corner * (columns[..., :-2] + columns[..., 2:])


def difference(x: Tensor, axis: int, padding: Padding) -> Tensor:
    """Return the next cell minus the previous cell along an axis, -2 for rows or -1 for columns."""
    padded, cells = _padded(x, axis, padding), x.shape[axis]
    return padded.narrow(axis, 2, cells) - padded.narrow(axis, 0, cells)


def _padded(x: Tensor, axis: int, padding: Padding) -> Tensor:
    """Return the field with one more cell at both ends of an axis."""
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    ends = (last, first) if padding == "periodic" else (torch.zeros_like(last), torch.zeros_like(first))
    return torch.cat([ends[0], x, ends[1]], dim=axis)


def laplacian(x: Tensor, padding: Padding) -> Tensor:
    """Return the 9-point Laplacian [1 4 1; 4 -20 4; 1 4 1] / 6 for cells of side 1.

    Its error is isotropic up to fourth order (Patra & Karttunen, Numer. Methods Partial Differ. Equ. 22, 936 (2006)).
    Along an axis its eigenvalue is -2 (1 - cos k); the most negative one, of the chequerboard, is -16/3. With padding
    "zero" it is Σ_j w_j (x_j - x_i) over the neighbours j inside the grid.
    """
    total = neighbours(x, padding, edge=4.0, corner=1.0)
    if padding == "periodic":
        return (total - 20.0 * x) / 6.0
    inside = torch.ones(x.shape[-2:], dtype=x.dtype, device=x.device)
    return (total - neighbours(inside, padding, edge=4.0, corner=1.0) * x) / 6.0
