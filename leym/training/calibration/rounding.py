"""Learns which of two neighbouring levels each weight takes, over steps of the closed loop.

    latent v per weight, in levels: the code is the level below if v < 1/2, else the level above
    W = decode(hard(v)),  dL/dv := dL/dW (level above - level below) absmax          straight-through gradient

    L = mean over K steps of |psi_q - psi|² / 2         trajectory, from states of the fp32 law's attractor
      + (a_q / a - 1)²                                  activity a = mean of |psi' - psi|
      + (m_q - m)² / (1 - m)²                           memory m = mean overlap of the first and the last state
      + (g_q - g)²                                      tangent growth g = log(D_K / D_0) / log 2 of a small difference

psi: the fp32 law; psi_q: the quantised one, stepped by itself, so the loss sees the states that errors lead to. Every
forward pass runs the codes that would be stored. It starts from the codes of the arm before it, with v the place
between the two levels at which GPTQ rounded the weight, so that the weights which lie near the middle flip first. The
codes with the least loss on states that no update sees are the result, so it is never worse than its start there.

Sources: Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization", arXiv 2004.10568 (the two
levels, learned by a loss); Li et al. 2021, "BRECQ", arXiv 2102.05426 (a loss over many layers); Bengio et al. 2013,
arXiv 1308.3432 (the straight-through gradient, in place of AdaRound's annealed sigmoid).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leym.laws.bundle import Manifest
from leym.quantization.nf4 import LEVELS, NF4
from leym.training.calibration.layers import Layer, per_weight
from leym.training.calibration.states import Visited

STEPS = 6  # K
BATCH = 4  # universes per update
RATE = 0.001  # of Adam, in levels per update: 0.02 flips so many at once that the loss only grows
SIZE = 0.02  # root mean square of the small difference per real component
ALIGNING = (4, 10)  # rounds, and steps of each, that align a small difference before it is followed


class NoGradientError(ValueError):
    """Says that a network cannot be learned from: its output does not change with its weights in small steps."""


@dataclass
class Latent:
    """The choice between two levels for every weight of a layer.

    Attributes:
        layer: The layer.
        low: Index of the level below, int64 [n].
        absmax: Scale per block, float32.
        v: Place between the two levels, float32 [n]; 1/2 is the middle.
    """

    layer: Layer
    low: Tensor
    absmax: Tensor
    v: Tensor

    @classmethod
    def start(cls, layer: Layer, code: NF4, aimed: Tensor) -> Latent:
        """Begin with a code, whose choices v reproduces, and with what each weight was when it was rounded."""
        index, scale = code.indices.long(), per_weight(code.absmax, code.indices.numel())
        ratio = layer.to_flat(aimed) / torch.where(scale > 0, scale, 1.0)
        low = (index - (ratio < LEVELS[index]).long()).clamp(0, len(LEVELS) - 2)
        place = (ratio - LEVELS[low]) / (LEVELS[low + 1] - LEVELS[low])
        above = index > low
        v = torch.where(above, place.clamp(0.5, 1.0), place.clamp(0.0, 0.499))
        return cls(layer, low, code.absmax, v.requires_grad_(True))

    def kernel(self) -> Tensor:
        """Return the kernel that the codes stand for, with the straight-through gradient to v."""
        scale = per_weight(self.absmax, self.low.numel())
        gap = (LEVELS[self.low + 1] - LEVELS[self.low]) * scale
        values = LEVELS[self.low + self.above] * scale + (self.v - self.v.detach()) * gap  # adds 0, and the gradient
        a, b, h, w = self.layer.shape
        return values.view(a, h, w, b).permute(0, 3, 1, 2)

    @property
    def above(self) -> Tensor:
        """Tell for every weight whether it takes the level above: int64 [n], 0 or 1."""
        return (self.v.detach() >= 0.5).long()

    def code(self) -> NF4:
        """Return the codes as they are now."""
        return NF4.from_indices(self.low + self.above, self.absmax, self.layer.shape)


@dataclass(frozen=True)
class Course:
    """Holds the course of a law over K steps from given states.

    Attributes:
        path: States after each step, float32 [K, B, 2d, H, W].
        activity: Mean over cells of |psi' - psi| per step, [K, B].
        memory: Mean overlap of first and last state, [B].
        growth: log2 of the growth of a small difference per universe, [B].
    """

    path: Tensor
    activity: Tensor
    memory: Tensor
    growth: Tensor


def follow(manifest: Manifest, network: nn.Module, states: Visited, nudge: Tensor, gamma: float) -> Course:
    """Step universes and nudged copies of them K times; differentiable."""
    start = torch.cat([states.x, states.x + nudge])
    memory = None if states.memory is None else torch.cat([states.memory] * 2)
    now = Visited(start, memory, torch.cat([states.seeds] * 2), torch.cat([states.clock] * 2))
    n, path = len(states), [states.x]
    for _ in range(STEPS):
        now = now.next(manifest, network, gamma)
        path.append(now.x[:n])
    whole = torch.stack(path)
    activity = (whole[1:] - whole[:-1]).square().sum(2).add(1e-12).sqrt().mean((2, 3))
    norms = (whole[0].square().sum(1) * whole[-1].square().sum(1)).add(1e-12).sqrt()
    overlap = ((whole[0] * whole[-1]).sum(1) / norms).mean((1, 2))
    apart = (now.x[n:] - now.x[:n]).square().mean((1, 2, 3)).add(1e-12)
    growth = (apart / nudge.square().mean((1, 2, 3))).log2() / 2
    return Course(whole[1:], activity, overlap, growth)


@torch.no_grad()
def aligned(
    manifest: Manifest, teacher: nn.Module, states: Visited, generator: torch.Generator, gamma: float
) -> tuple[Visited, Tensor]:
    """Return later states of the same universes, and small differences that have grown with the fp32 law until then.

    A random difference first shrinks whatever the law does; what is left after some rounds grows at the rate of the
    Lyapunov exponent (Benettin's method, as the gate measures it). Each has the root mean square `SIZE`.
    """
    now, nudge = states, torch.randn(states.x.shape, generator=generator) * SIZE
    for _ in range(ALIGNING[0]):
        other = now.with_x(now.x + nudge)
        for _ in range(ALIGNING[1]):
            now, other = now.next(manifest, teacher, gamma), other.next(manifest, teacher, gamma)
        apart = other.x - now.x
        nudge = apart * (SIZE / apart.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12))
    return now, nudge


def loss(found: Course, wanted: Course) -> Tensor:
    """Return L, averaged over universes; the statistics are compared between averages over the batch."""
    trajectory = (found.path - wanted.path).square().sum(2).mean() / 2
    activity = (found.activity.mean() / wanted.activity.mean().clamp_min(1e-6) - 1).square()
    memory = (found.memory.mean() - wanted.memory.mean()).square() / (1 - wanted.memory.mean()).square().clamp_min(1e-4)
    growth = (found.growth.mean() - wanted.growth.mean()).square()
    return trajectory + activity + memory + growth


def learn(
    manifest: Manifest,
    teacher: nn.Module,
    student: nn.Module,
    layers: dict[str, Latent],
    states: Visited,
    *,
    gamma: float,
    updates: int,
    seed: int,
) -> dict[str, NF4]:
    """Learn the choices of all layers together.

    Args:
        manifest: Of the law.
        teacher: The fp32 network.
        student: The network with all other weights as the precision decodes them.
        layers: Key -> choices, which change.
        states: Of the fp32 law's attractor; the last quarter is held out.
        gamma: Damping per step.
        updates: Number of updates.
        seed: Of the batches and the small differences.

    Returns:
        Key -> the codes with the least loss on the held-out states.

    Raises:
        NoGradientError: The network has thresholds that pass no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    states, nudges = aligned(manifest, teacher, states, generator, gamma)
    held = torch.arange(len(states))[-max(1, len(states) // 4) :][:: max(1, len(states) // 32)]
    free = len(states) - max(1, len(states) // 4)
    with torch.no_grad():
        target = follow(manifest, teacher, states[held], nudges[held], gamma)

    def course(rows: Tensor) -> Course:
        kernels = {key: one.kernel() for key, one in layers.items()}
        network = _Called(student, kernels)
        return follow(manifest, network, states[rows], nudges[rows], gamma)

    @torch.no_grad()
    def held_out() -> float:
        return float(loss(course(held), target))

    best, codes = held_out(), {key: one.code() for key, one in layers.items()}
    optimizer = torch.optim.Adam([one.v for one in layers.values()], lr=RATE)
    for update in range(1, updates + 1):
        rows = torch.randperm(max(1, free), generator=generator)[:BATCH]
        with torch.no_grad():
            wanted = follow(manifest, teacher, states[rows], nudges[rows], gamma)
        optimizer.zero_grad()
        missed = loss(course(rows), wanted)
        if not missed.requires_grad:
            raise NoGradientError(f"the network of {manifest.architecture} passes no gradient to its weights")
        missed.backward()
        optimizer.step()
        with torch.no_grad():
            for one in layers.values():
                one.v.clamp_(0, 1)
        if update % 10 == 0 or update == updates:
            now = held_out()
            if now < best:
                best, codes = now, {key: one.code() for key, one in layers.items()}
    return codes


class _Called(nn.Module):
    """A network that runs with other kernels in the place of its own."""

    def __init__(self, network: nn.Module, kernels: dict[str, Tensor]):
        super().__init__()
        self._network, self._kernels = [network], kernels  # a list, so that it is not registered as a child

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        found: Tensor = functional_call(self._network[0], self._kernels, inputs)
        return found
