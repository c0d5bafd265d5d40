"""Refits the head, the last layer of a network, by least squares to what leaves the head of the fp32 network.

    minimise  mean |Q v + b - y|²  +  t mean |Q dv - dy|²        t = TANGENT mean |y - mean y|² / mean |dy|²

v enters the head of the quantised network and y leaves that of the fp32 one, over states of the fp32 law's attractor;
dv and dy are their changes under small differences that have aligned with the flow, so the fit keeps their growth too.
The head is stored in 16 bits, so whatever span of functions the quantised layers before it leave is used in full: in a
network whose head reads many channels, it makes good for nearly all of their error.

The solution is rounded to bfloat16 weight by weight, and the rest is solved again after each (as in `gptq.py`): such
solutions are differences of large numbers, which plain rounding would spoil. The bias, stored in fp32, comes last.
Sources: Nagel et al. 2019, arXiv 1906.04721, whose correction of biases this extends to the whole layer; the order of
rounding and feedback is that of GPTQ, arXiv 2210.17323.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leym.laws.bundle import Bundle
from leym.quantization.policy import UNPACKED, format_of, role_of
from leym.training.calibration.layers import Layer
from leym.training.calibration.network import observed
from leym.training.calibration.rounding import aligned
from leym.training.calibration.states import Visited

TANGENT = 0.3
PRECISION = "nf4"
DAMPING = 1e-7  # of the mean of the diagonal: enough to solve, too little to shrink the law


class NoReadoutError(ValueError):
    """Says that the last layer of a network cannot be refitted."""


@torch.no_grad()
def refit_head(
    law: Bundle, teacher: nn.Module, student: nn.Module, states: Visited, *, seed: int, gamma: float
) -> dict[str, Tensor]:
    """Refit the head of the quantised network in place.

    Args:
        law: The law.
        teacher: Its fp32 network.
        student: Its network with all other layers quantised.
        states: Of the fp32 law's attractor.
        seed: Of the small differences.
        gamma: Damping per step.

    Returns:
        Key -> new value, float32, of the head's kernel and bias.

    Raises:
        NoReadoutError: The last layer is no convolution without groups, or its format has scales.
    """
    layer, stored = head_of(law, student)
    name = layer.key.removesuffix(".weight")
    parent = dict(teacher.named_modules())[name]
    later, nudge = aligned(law.manifest, teacher, states, torch.Generator().manual_seed(seed), gamma)
    nudged = later.with_x(later.x + nudge)

    def pairs(visited: Visited) -> Iterator[tuple[Tensor, Tensor]]:
        entering = observed(law, student, layer.module, visited)
        leaving = observed(law, teacher, parent, visited, output=True)
        for v, y in zip(entering, leaving, strict=True):
            yield layer.vectors(v), y.permute(0, 2, 3, 1).flatten(0, 2)

    bias = layer.module.bias
    still = _moments(pairs(states), constant=bias is not None)
    moving = _moments(
        ((v1 - v0, y1 - y0) for (v0, y0), (v1, y1) in zip(pairs(later), pairs(nudged), strict=True)),
        constant=False,
    )
    share = TANGENT * float(still.variance / moving.power.clamp_min(1e-30))
    columns = len(moving.h)
    h, moved = still.h, still.moved
    h[:columns, :columns] += share * moving.h
    moved[:columns] += share * moving.moved
    q = round_one_by_one(h, moved, columns if stored != "fp32" else 0).T.float().contiguous()
    layer.module.weight.data = layer.kernel(q[:, :columns]).contiguous()
    found = {layer.key: layer.module.weight.detach().clone()}
    if bias is not None:
        bias.data = q[:, -1].contiguous()
        found[f"{name}.bias"] = bias.detach().clone()
    return found


def head_of(law: Bundle, student: nn.Module) -> tuple[Layer, str]:
    """Return the head of a network, and its format at rest.

    Raises:
        NoReadoutError: It cannot be refitted.
    """
    for name, module in student.named_modules():
        key = f"{name}.weight"
        if key not in law.tensors or role_of(law.manifest, key, law.tensors[key][1]) != "head":
            continue
        stored = format_of(law.manifest, PRECISION, key, "head")
        if stored not in UNPACKED:
            raise NoReadoutError(f"the head {key} is stored as {stored}, which has no weights of its own to refit")
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            return Layer(key, module), stored
    raise NoReadoutError(f"the network of {law.manifest.architecture} does not end in a convolution without groups")


@dataclass(frozen=True)
class _Moments:
    """Means over cells and states, float64: h of v vᵀ [K, K], moved of v yᵀ [K, R], mean of y [R], power of |y|²."""

    h: Tensor
    moved: Tensor
    mean: Tensor
    power: Tensor

    @property
    def variance(self) -> Tensor:
        return self.power - self.mean.square().sum()


def _moments(pairs: Iterator[tuple[Tensor, Tensor]], *, constant: bool) -> _Moments:
    """Average over pairs of v [n, K] and y [n, R]; `constant` adds a component 1 to v, which the bias multiplies."""
    count, sums = 0, [torch.zeros((), dtype=torch.float64)] * 4
    for v, y in pairs:
        v, y = v.double(), y.double()  # sums in float32 would leave H indefinite
        v = torch.cat([v, torch.ones(len(v), 1, dtype=v.dtype)], 1) if constant else v
        parts = (v.T @ v, v.T @ y, y.sum(0), y.square().sum())
        sums, count = [total + part for total, part in zip(sums, parts, strict=True)], count + len(v)
    return _Moments(*(total / count for total in sums))


def round_one_by_one(h: Tensor, moved: Tensor, kernel: int) -> Tensor:
    """Solve H Q = M with some rows of Q rounded to bfloat16 one by one, the largest first.

    Args:
        h: H, float64 [K, K], symmetric.
        moved: M, float64 [K, R].
        kernel: Rows of Q that are rounded, the first ones; the others are stored in fp32.

    Returns:
        Q, float64 [K, R].
    """
    h = h + DAMPING * h.diagonal().mean().clamp_min(1e-30) * torch.eye(len(h), dtype=h.dtype)
    q: Tensor = torch.linalg.solve(h, moved)
    order = torch.cat([q[:kernel].abs().amax(1).argsort(descending=True), torch.arange(kernel, len(q))])
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h[order][:, order])), upper=True)
    for k in range(kernel):
        row, rest = order[k], order[k + 1 :]
        rounded = q[row].bfloat16().double()
        q[rest] -= upper[k, k + 1 :, None] * ((q[row] - rounded) / upper[k, k])
        q[row] = rounded
    return q
