"""The arms of calibration by name: each makes codes for all NF4 weights of a law from states of its attractor.

Layers are taken in the order in which a step calls them. The inputs of each are those of the network whose earlier
layers are quantised already, on states that the fp32 law visits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from leym.contract.problems import Problem
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.quantization.codes import Codes
from leym.quantization.nf4 import NF4
from leym.training.calibration import absmax, descent, gptq, readout, refit, rounding
from leym.training.calibration.network import called_modules, hessian, moments, nf4_layer, set_code, student, teacher
from leym.training.calibration.states import SEED, Visited, attractor, one_thread
from leym.training.draws import DrawSettings


@dataclass(frozen=True)
class Settings(DrawSettings):
    """Holds the choices that an arm may use.

    Attributes:
        grid: (H, W) of the calibration universes.
        gamma: Their damping per step.
        members: Their number in a draw; the first has seeds `seed` to `seed + members - 1`.
        seed: Seed of the first.
        draws: How often each arm makes its codes, each time from other universes; the best are kept.
        fit_rounds: Rounds that then fit gains of the codes to the statistics of fp32 (`leym.training.gains`).
        measured: Universes on which the statistics are measured, of each of several draws and under each gain.
        updates: Updates of the arms that learn.
    """

    grid: tuple[int, int] = (32, 32)
    gamma: float = 0.01
    members: int = 16
    seed: int = SEED
    draws: int = 1
    fit_rounds: int = 0
    measured: int = 96
    updates: int = 150

    def __post_init__(self) -> None:
        self.check()


@dataclass
class Work:
    """A calibration in progress.

    Attributes:
        law: The law.
        settings: The settings.
        teacher: Its network in fp32.
        student: Its network as quantised so far.
        states: Of the fp32 law's attractor.
        codes: Made so far, by key.
        aimed: Key -> the weights as GPTQ rounded them, float32 [R, K].
    """

    law: Bundle
    settings: Settings
    teacher: nn.Module
    student: nn.Module
    states: Visited
    codes: Codes = field(default_factory=dict)
    aimed: dict[str, Tensor] = field(default_factory=dict)


def calibrate(law: Bundle, arm: str, settings: Settings | None = None) -> Codes:
    """Make codes in NF4 for a law by one arm: the same law, arm, settings and kind of machine give the same bytes.

    Args:
        law: The law; its fp32 weights count, own codes that it may have do not.
        arm: Name of an arm.
        settings: The settings, of one draw.

    Returns:
        Key -> code, for `leym.quantization.codes.write_with_codes`.

    Raises:
        Problem: 422, the arm is unknown, or the law has no weight in NF4.
        ValueError: The law cannot be calibrated, or the settings ask for several draws.
    """
    check_arms([arm])
    settings = settings or Settings()
    settings.check_single("choose_codes")
    with one_thread():
        return _made_by(arm, law, settings).codes


def check_arms(names: Sequence[str]) -> None:
    """Check that all arms exist.

    Raises:
        Problem: 422, naming those that do not and those that do.
    """
    if unknown := [name for name in names if name not in ARMS]:
        raise Problem(422, "Unknown arm", f"arms = {', '.join(unknown)!r}: it must be among {', '.join(ARMS)}")


@torch.no_grad()
def _start(law: Bundle, settings: Settings) -> Work:
    parent = teacher(law)
    states = attractor(law, parent, settings.grid, gamma=settings.gamma, seeds=settings.seeds)
    return Work(law, settings, parent, student(law), states)


def _made_by(arm: str, law: Bundle, settings: Settings) -> Work:
    work = _start(law, settings)
    ARMS[arm](work)
    if not any(isinstance(code, NF4) for code in work.codes.values()):
        raise Problem(422, "Nothing to calibrate", f"{law.ref}: the policy stores none of its weights in NF4")
    return work


def _nearest(work: Work) -> None:
    """Round each weight to the nearest level: the codes of a law without own ones."""
    for name, module in work.student.named_modules():
        if layer := nf4_layer(work.law, name, module):
            work.codes[layer.key] = NF4.encode(module.weight)


def _absmax(work: Work) -> None:
    """Search each block's scale."""
    _layer_by_layer(work, lambda layer, kernel, h: gptq.Rounded(absmax.encode(layer, kernel, h.diagonal()), kernel))


def _gptq(work: Work) -> None:
    """Round with error feedback under searched scales."""
    _layer_by_layer(work, gptq.encode)


def _refit(work: Work) -> None:
    """Round as `gptq` does, and refit norms and biases behind each layer to the fp32 law's activations."""
    _layer_by_layer(work, gptq.encode, with_refit=True)


def _matched(work: Work) -> None:
    """Round as `gptq` does, each layer towards its output in the fp32 network, and refit norms and biases behind it."""
    _layer_by_layer(work, gptq.encode, with_refit=True, to_output=True)


def _descent(work: Work) -> None:
    """Round as `matched` does, and change one level or scale of a layer at a time while its error shrinks."""
    _layer_by_layer(work, descent.encode, with_refit=True, to_output=True)


@torch.no_grad()
def _layer_by_layer(
    work: Work, encode: Callable[..., gptq.Rounded], *, with_refit: bool = False, to_output: bool = False
) -> None:
    law, weights, parents = work.law, load_weights(work.law), dict(work.teacher.named_modules())
    quantized = False
    for name, module in called_modules(law, work.student, work.states):
        if layer := nf4_layer(law, name, module):
            kernel = weights[layer.key]
            if to_output:
                h, cross = moments(law, work.teacher, work.student, layer, work.states)
                kernel = layer.kernel(gptq.aimed_at_output(layer.matrix(kernel), h, cross))
            else:
                h = hessian(law, work.student, layer, work.states)
            rounded = encode(layer, kernel, h)
            work.codes[layer.key], work.aimed[layer.key] = rounded.code, rounded.aimed
            set_code(layer, rounded.code)
            quantized = True
        if with_refit and quantized:
            work.codes |= refit.refit(law, name, parents[name], module, work.teacher, work.student, work.states)


def _readout(work: Work) -> None:
    """Round as `matched` does, and refit the head to the fp32 law's output."""
    _matched(work)
    settings = work.settings
    work.codes |= readout.refit_head(
        work.law, work.teacher, work.student, work.states, seed=settings.seed, gamma=settings.gamma
    )


def _rounding(work: Work) -> None:
    """Begin as `gptq` does, then learn the choice of levels over steps of the closed loop."""
    _gptq(work)
    modules = dict(work.student.named_modules())
    layers = {}
    for name, module in modules.items():
        layer = nf4_layer(work.law, name, module)
        code = work.codes.get(layer.key) if layer else None
        if layer and isinstance(code, NF4):
            layers[layer.key] = rounding.Latent.start(layer, code, work.aimed[layer.key])
    settings = work.settings
    work.codes |= rounding.learn(
        work.law.manifest,
        work.teacher,
        work.student,
        layers,
        work.states,
        gamma=settings.gamma,
        updates=settings.updates,
        seed=settings.seed,
    )


# cheapest first
ARMS: dict[str, Callable[[Work], None]] = {
    "nearest": _nearest,
    "absmax": _absmax,
    "gptq": _gptq,
    "refit": _refit,
    "matched": _matched,
    "descent": _descent,
    "readout": _readout,
    "rounding": _rounding,
}
