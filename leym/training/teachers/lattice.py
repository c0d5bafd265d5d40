"""Neighbour sums and differences on the grid, elementwise, so that a universe does not depend on its batch.

All take float [..., H, W]. Padding "periodic" is a torus; with "zero" a neighbour outside the grid contributes nothing,
which makes the Laplacian that of walls without flux.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leym.training.teachers.base import Padding

EDGES = ((-1, 0), (1, 0), (0, -1), (0, 1))
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def shifted(x: Tensor, dy: int, dx: int, padding: Padding) -> Tensor:
    """Return the field whose value in cell (i, j) is x[i + dy, j + dx], or 0 outside a grid of padding "zero"."""
    moved = torch.roll(x, (-dy, -dx), dims=(-2, -1))
    if padding == "zero":
        rows, columns = slice_outside(dy), slice_outside(dx)
        if dy:
            moved[..., rows, :] = 0
        if dx:
            moved[..., columns] = 0
    return moved


def slice_outside(offset: int) -> slice:
    """Return the cells of an axis whose neighbour at `offset` is outside the grid."""
    return slice(-offset, None) if offset > 0 else slice(0, -offset)


def neighbours(x: Tensor, padding: Padding, edge: float = 1.0, corner: float = 0.0) -> Tensor:
    """Sum the 8 neighbours of each cell, those across an edge with one weight, those across a corner with another."""
    total = edge * sum_shifted(x, EDGES, padding)
    return total + corner * sum_shifted(x, CORNERS, padding) if corner else total


def sum_shifted(x: Tensor, offsets: tuple[tuple[int, int], ...], padding: Padding) -> Tensor:
    """Sum the cells at the offsets (dy, dx) from each cell."""
    return torch.stack([shifted(x, dy, dx, padding) for dy, dx in offsets]).sum(dim=0)


def laplacian(x: Tensor, padding: Padding) -> Tensor:
    """Return the 9-point Laplacian [1 4 1; 4 -20 4; 1 4 1] / 6 for cells of side 1.

    Its error is isotropic up to fourth order (Patra & Karttunen, Numer. Methods Partial Differ. Equ. 22, 936 (2006)).
    Along an axis its eigenvalue is -2 (1 - cos k); the most negative one, of the chequerboard, is -16/3. With padding
    "zero" it is Σ_j w_j (x_j - x_i) over the neighbours j inside the grid.
    """
    total = neighbours(x, padding, edge=4.0, corner=1.0)
    if padding == "periodic":
        return (total - 20.0 * x) / 6.0
    return (total - neighbours(torch.ones_like(x), padding, edge=4.0, corner=1.0) * x) / 6.0
