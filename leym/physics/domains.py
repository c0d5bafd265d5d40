"""Domains of equal dominant channel: their number, largest size, wall length and Euler number (M5).

The label of a cell is argmax_c p_c. A domain is a 4-connected set of cells of equal label; `wrap` must match the
boundary of the law. Number, wall length and Euler number are Minkowski functionals of the label field.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leym.physics.structure import channel_power


def labels_of(psi: Tensor) -> Tensor:
    """Return the dominant channel of every cell: complex64 [..., H, W, d] -> int64 [..., H, W]."""
    return channel_power(psi).argmax(-1)


def components(labels: Tensor, wrap: bool = False) -> Tensor:
    """Return for every cell the lowest flat index in its domain: int64 [..., H, W] -> int64 [..., H, W].

    Each round, a cell takes the least index among itself and its equal neighbours, then the index found at that index,
    until nothing changes. An index never leaves its domain, and the lowest cell of a domain always keeps its own.
    """
    h, w = labels.shape[-2:]
    grid = labels.reshape(-1, h, w)
    root = torch.arange(h * w).view(1, h, w).expand_as(grid).contiguous()
    joined = [(axis, shift, _equal(grid, axis, shift, wrap)) for axis in (1, 2) for shift in (1, -1)]
    while True:
        before = root
        for axis, shift, equal in joined:
            root = torch.where(equal, torch.minimum(root, root.roll(shift, axis)), root)
        flat = root.flatten(1)
        root = flat.gather(1, flat).view_as(root)
        if torch.equal(root, before):
            return root.view_as(labels)


def domains(labels: Tensor, wrap: bool = False) -> dict[str, Tensor]:
    """Measure the domains of each frame: int64 [..., H, W] -> float32 [...] per measure.

    Returns:
        `domains`: number of domains divided by the number of cells, in (0, 1];
        `largest_domain`: share of the cells in the largest domain;
        `domain_walls`: neighbour pairs of unequal label divided by all neighbour pairs;
        `domain_euler`: (domains - holes) divided by the number of cells, computed as V - E + F of the cells, the equal
        neighbour pairs and the uniform 2 x 2 blocks.
    """
    h, w = labels.shape[-2:]
    root = components(labels, wrap).flatten(-2)
    own = torch.arange(h * w)
    sizes = torch.zeros_like(root).scatter_add_(-1, root, torch.ones_like(root))
    right, below = _equal(labels, -1, -1, wrap), _equal(labels, -2, -1, wrap)
    edges = (right.sum((-2, -1)) + below.sum((-2, -1))).float()
    # a block is uniform when its upper pair, lower pair and left pair are
    faces = (right & _next_row(right, wrap) & below).sum((-2, -1)).float()
    pairs = 2 * h * w if wrap else (h - 1) * w + h * (w - 1)
    return {
        "domains": (root == own).sum(-1).float() / (h * w),
        "largest_domain": sizes.max(-1).values.float() / (h * w),
        "domain_walls": 1 - edges / pairs,
        "domain_euler": (h * w - edges + faces) / (h * w),
    }


def _next_row(pairs: Tensor, wrap: bool) -> Tensor:
    moved = pairs.roll(-1, -2)
    if not wrap:
        moved[..., -1, :] = False
    return moved


def _equal(labels: Tensor, axis: int, shift: int, wrap: bool) -> Tensor:
    """Return True where a cell equals the neighbour that `roll(shift, axis)` moves to its place: bool [..., H, W]."""
    equal = labels == labels.roll(shift, axis)
    if not wrap:  # the row or column that wrapped around the edge
        equal.select(axis, 0 if shift == 1 else -1).fill_(False)
    return equal
