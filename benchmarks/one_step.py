"""Prints how far stored weights are off in one step, per arm of calibration: `python -m benchmarks.one_step NAME...`.

    error = root of  mean |q - p|² / mean |p - s|²      s: a state, p and q: one step of the fp32 and of the stored law

over states of the fp32 law's attractor that no fit saw. NAME is a law of `laws/`, one of the oracle's, or `nca`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.common import make_law
from benchmarks.zoo import LAWS
from leym.laws.bundle import Bundle, read_bundle
from leym.quantization.codes import decoded
from leym.training.calibration.arms import ARMS, Settings, calibrate
from leym.training.calibration.network import network_of, student, teacher
from leym.training.calibration.states import attractor, one_thread
from tests.support.laws import FORMS, oracle

SEEDS = range(5_600_000, 5_600_008)  # far from those of calibration


def law_of(name: str, folder: Path) -> Bundle:
    """Return a law by name."""
    if name in FORMS:
        return oracle(name, folder).bundle
    return read_bundle(LAWS / name) if (LAWS / name).exists() else make_law(name, folder)


@torch.no_grad()
def errors(law: Bundle, arms: list[str], how: Settings) -> dict[str, float]:
    """Return the error of one step under the codes of each arm."""
    fp32, weights, found = teacher(law), student(law).state_dict(), {}  # int8 where the policy says so
    states = attractor(law, fp32, how.grid, gamma=how.gamma, seeds=SEEDS)
    wanted = states.next(law.manifest, fp32, how.gamma).x
    for arm in arms:
        stored = network_of(law, weights | {key: decoded(code) for key, code in calibrate(law, arm, how).items()})
        wrong = states.next(law.manifest, stored, how.gamma).x - wanted
        found[arm] = float((wrong.square().mean() / (wanted - states.x).square().mean()).sqrt())
    return found


def main() -> None:
    """Print a row per law."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.one_step", description=__doc__)
    options.add_argument("names", nargs="+", metavar="NAME")
    options.add_argument("--arms", nargs="+", choices=ARMS, default=["nearest", "gptq", "matched", "readout"])
    options.add_argument("--universes", type=int, default=32, help="to calibrate on")
    chosen = options.parse_args()
    with TemporaryDirectory() as folder, one_thread():
        for name in chosen.names:
            law = law_of(name, Path(folder))
            found = errors(law, chosen.arms, Settings(members=chosen.universes))
            print(f"| `{name}` | " + " | ".join(f"{value:.1%}" for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
