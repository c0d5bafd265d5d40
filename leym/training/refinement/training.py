"""Refines the stored weights of a law by gradients: `refine` is the whole loop.

    distil: short paths only, cheap (`distillation.py`)
    then: draw universes of both laws → run both laws from all of them → loss → backward → clip → Adam → put them back

Half of the universes of an update are ones that the fp32 law goes on with, half are ones that the stored law goes on
with, so the loss sees the states that its errors lead to. Both kinds live in pools, each with a small difference that
grows along. The learning rates fall to nothing. `leym.training.draws` chooses among refinements from several seeds.

Source: arXiv 2601.20088 (quantisation-aware distillation: the network in full precision is the teacher).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leym.contract.problems import Problem
from leym.laws.bundle import Bundle, Manifest
from leym.quantization.nf4 import NF4
from leym.training.calibration.arms import Settings as CalibrationSettings
from leym.training.calibration.arms import calibrate
from leym.training.calibration.network import teacher
from leym.training.calibration.states import Visited, attractor, one_thread
from leym.training.draws import DrawSettings
from leym.training.refinement import courses
from leym.training.refinement.courses import Course, Statistics, Universes, Weights, follow
from leym.training.refinement.distillation import distil, falling
from leym.training.refinement.fake_quantization import FakeQuantized

SEED = 6_000_000  # of the first universe; calibration begins at 5,000,000, plans of the gate at 1,000,000
REFERENCE = 8  # courses of all the fp32 law's universes that its statistics are averaged over
OnUpdate = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Settings(DrawSettings):
    """Says how a law is refined.

    Attributes:
        grid: (H, W) of the universes.
        gamma: Their damping per step.
        members: Universes of each pool; their seeds are `seed` to `seed + members - 1`.
        seed: Seed of the first, and of everything that is drawn.
        start: Arm of calibration whose NF4 codes are refined, on the same universes.
        draws: How often the law is refined, each time from other universes; the best is kept.
        fit_rounds: Rounds that then fit gains of the codes to the statistics of fp32 (`leym.training.gains`).
        measured: Universes on which the statistics are measured, of each of several draws and under each gain.
        distil: Cheap updates at the start, by the errors of two steps.
        distil_rate: Their learning rate at the start.
        updates: Updates that follow, by whole paths.
        batch: Universes of each pool in an update.
        steps: K, the steps of an update.
        lags: Steps after which the memory counts.
        rate: Learning rate of these updates at the start; it falls to 1 % along half a cosine.
        clip: Largest norm of the gradient.
        weights: What each part of the loss counts.
    """

    grid: tuple[int, int] = (32, 32)
    gamma: float = 0.01
    members: int = 16
    seed: int = SEED
    start: str = "gptq"
    draws: int = 1
    fit_rounds: int = 0
    measured: int = 96
    distil: int = 0
    distil_rate: float = 3e-3
    updates: int = 400
    batch: int = 4
    steps: int = 10
    lags: tuple[int, ...] = (5, 10)
    rate: float = 3e-4
    clip: float = 1.0
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if not 0 < max(self.lags) <= self.steps:
            raise ValueError(f"lags = {self.lags}: none may exceed steps = {self.steps}")
        if not 0 < self.batch <= self.members:
            raise ValueError(f"batch = {self.batch} is outside [1, members = {self.members}]")
        if not 0 < self.rate <= 1e-3:  # 2e-3 doubled the error of one step instead of lowering it
            raise ValueError(f"rate = {self.rate} is outside (0, 0.001]")
        if not 0 < self.distil_rate <= 1e-2:
            raise ValueError(f"distil_rate = {self.distil_rate} is outside (0, 0.01]")
        self.check()


@dataclass(frozen=True)
class Refined:
    """The result of a refinement.

    Attributes:
        codes: Key -> code, of every weight that is no constant.
        decoded: Key -> what the last forward pass would run, float32: a worker's weights, bit for bit.
        curve: Parts of the loss per update; those of the distillation first, which have no parts.
    """

    codes: dict[str, Tensor | NF4]
    decoded: dict[str, Tensor]
    curve: list[dict[str, float]]


class Called(nn.Module):
    """A network that runs with other weights in the place of its own."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._network, self._weights = [network], weights  # a list, so that it is not registered as a child

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        found: Tensor = functional_call(self._network[0], self._weights, inputs)
        return found


def refine(
    law: Bundle,
    precision: str = "nf4",
    settings: Settings | None = None,
    *,
    on_update: OnUpdate = lambda number, row: None,
) -> Refined:
    """Refine the weights that a precision stores; the same law, settings and kind of machine give the same bytes.

    Args:
        law: The law; its fp32 weights are the teacher and the start, own codes that it may have do not count.
        precision: "nf4", "int8" or "bf16".
        settings: The settings, of one draw.
        on_update: Called after every update with the number of updates that are done and the parts of the loss.

    Raises:
        Problem: 422, the precision stores the law as it is, or there is no such arm to start from.
        ValueError: The law's universes, or the loss, do not stay finite; the start cannot calibrate the law; or the
            settings ask for several draws.
    """
    how = settings or Settings()
    how.check_single("refined")
    if precision == "fp32":
        raise Problem(422, "Nothing to refine", f"precision = {precision!r}: it stores the weights as they are")
    with one_thread():
        return _Refinement(law, precision, how, on_update).run()


class _Refinement:
    """The weights that learn, and the universes that they learn from."""

    def __init__(self, law: Bundle, precision: str, how: Settings, on_update: OnUpdate) -> None:
        self._manifest, self._parent, self._how, self._on_update = law.manifest, teacher(law), how, on_update
        calibration = CalibrationSettings(grid=how.grid, gamma=how.gamma, members=how.members, seed=how.seed)
        self._fake = FakeQuantized(law, precision, calibrate(law, how.start, calibration) if precision == "nf4" else {})
        self._pools, self._reference = _pools(law, self._parent, how)
        self._generator = torch.Generator().manual_seed(how.seed)
        self._curve: list[dict[str, float]] = []

    def run(self) -> Refined:
        """Update the weights while the learning rate falls, and return them."""
        how = self._how
        self._curve += distil(
            self._manifest,
            self._parent,
            lambda weights: Called(self._parent, weights),
            self._fake,
            self._pools,
            updates=how.distil,
            rate=how.distil_rate,
            batch=how.batch,
            gamma=how.gamma,
            clip=how.clip,
            generator=self._generator,
            on_update=self._on_update,
        )
        optimiser = torch.optim.Adam(list(self._fake.parameters()), how.rate)
        for number in range(how.updates):
            for group in optimiser.param_groups:
                group["lr"] = how.rate * falling(number, how.updates)
            parts = self._update(optimiser)
            self._curve.append({name: float(part.detach()) for name, part in parts.items()})
            self._on_update(len(self._curve), self._curve[-1])
        with torch.no_grad():
            return Refined(self._fake.codes(), self._fake.decoded(), list(self._curve))

    def _update(self, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Update the weights once, let the universes go on, and return the loss and its parts."""
        how, pools = self._how, self._pools
        rows = [torch.randperm(how.members, generator=self._generator)[: how.batch] for _ in pools]
        starts = [pool[chosen] for pool, chosen in zip(pools, rows, strict=True)]
        network = Called(self._parent, self._fake.decoded())
        wanted = [_run(self._manifest, self._parent, start, how) for start in starts]
        found = [follow(self._manifest, network, start, how.steps, how.gamma, how.lags) for start in starts]
        parts = _parts(found, wanted, self._reference)
        loss = how.weights.of(parts)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self._fake.parameters(), how.clip)):
            number = len(self._curve) + 1
            raise ValueError(f"update {number}: the gradient is not finite; a smaller rate (now {how.rate:g}) helps")
        optimiser.step()
        pools[0].put(rows[0], wanted[0].end)
        pools[1].put(rows[1], found[1].end)
        return {"loss": loss} | parts


@torch.no_grad()
def _run(manifest: Manifest, network: nn.Module, start: Universes, how: Settings) -> Course:
    return follow(manifest, network, start, how.steps, how.gamma, how.lags)


@torch.no_grad()
def _pools(law: Bundle, parent: nn.Module, how: Settings) -> tuple[list[Universes], Statistics]:
    """Return a pool for the fp32 law and one for the stored law, alike at first, and the fp32 law's statistics."""
    states = attractor(law, parent, how.grid, gamma=how.gamma, seeds=how.seeds, first=150, last=150)
    now, seen = courses.aligned(law.manifest, parent, states, how.seed, how.gamma), []
    pools = [Universes(_copy(now.states), now.nudge.clone()) for _ in range(2)]
    for _ in range(REFERENCE):
        course = _run(law.manifest, parent, now, how)
        seen.append(course.statistics)
        now = course.end
    return pools, Statistics.mean(seen)


def _copy(states: Visited) -> Visited:
    memory = None if states.memory is None else states.memory.clone()
    return Visited(states.x.clone(), memory, states.seeds.clone(), states.clock.clone())


def _parts(found: list[Course], wanted: list[Course], reference: Statistics) -> dict[str, Tensor]:
    """Return all parts of the loss: averages over both kinds of universes, and the drift of the stored law's own."""
    pairs = list(zip(found, wanted, strict=True))
    rows = [courses.paths(a, b) | courses.statistics(a.statistics, b.statistics) for a, b in pairs]
    parts = {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}
    drift = courses.statistics(found[1].statistics, reference)
    return parts | {"drift": torch.stack([drift["activity"], drift["memory"], drift["tangent"]]).sum()}
