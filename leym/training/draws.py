"""Chooses a law's codes by what its universes are like: the draw that is nearest to fp32, with fitted gains.

Rounding is chaotic: other calibration universes, or another order of updates, give other codes of the same one-step
error, and what their law settles to differs by several per cent. No loss over a few steps can see that. The metrics of
the gate can (`leym.training.yardstick`). The gains of the nearest draw are then fitted (`leym.training.gains`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from leym.laws.bundle import Bundle
from leym.quantization.codes import Codes, completed, write_with_codes
from leym.training.gains import Fitted, fit_gains
from leym.training.yardstick import Measured, Yardstick


class DrawSettings:
    """Holds what the settings of every way of making codes have in common.

    Attributes:
        seed: Seed of the first universe.
        members: Universes of a draw.
        draws: How often codes are made, each time from other universes; the nearest are kept.
        fit_rounds: Rounds that then fit gains of the codes to the statistics of fp32 (`leym.training.gains`).
        measured: Universes on which these statistics are measured, of each of several draws and under each gain.
    """

    seed: int
    members: int
    draws: int
    fit_rounds: int
    measured: int

    def check(self) -> None:
        """Check the settings.

        Raises:
            ValueError: There is no draw, a negative number of rounds, or too few universes measure them.
        """
        for name, least in (("draws", 1), ("fit_rounds", 0), ("measured", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} is below {least}")

    def check_single(self, chooser: str) -> None:
        """Check that these are the settings of one draw, whose statistics nobody measures.

        Raises:
            ValueError: They are not; `chooser` is the function that takes them.
        """
        if self.is_measured:
            raise ValueError(f"draws = {self.draws}, fit_rounds = {self.fit_rounds}: `{chooser}` measures and chooses")

    @property
    def is_measured(self) -> bool:
        """True if statistics are measured before codes are chosen."""
        return self.draws > 1 or self.fit_rounds > 0

    @property
    def seeds(self) -> range:
        """The seeds of the universes that codes are made from, of all draws."""
        return range(self.seed, self.seed + self.draws * self.members)

    @property
    def used_seeds(self) -> range:
        """All seeds that the codes depend on: those that they are made from, then those of the measurements."""
        return range(self.seed, self.seeds.stop + (3 * self.measured if self.is_measured else 0))

    def draw(self, number: int) -> Self:
        """Return the settings of one draw, which has universes of its own."""
        changes = {"seed": self.seed + number * self.members, "draws": 1, "fit_rounds": 0}
        return replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class Choice:
    """Says how codes were chosen.

    Attributes:
        settings: Of the choice.
        codes: The codes.
        number: Of the draw that they come from.
        distances: Of all draws to fp32, in margins, that of the chosen one the smallest; empty for one draw.
        fitted: The fit of the gains; None without rounds.
    """

    settings: DrawSettings
    codes: Codes
    number: int = 0
    distances: tuple[float, ...] = ()
    fitted: Fitted | None = None

    def provenance(self) -> dict[str, Any]:
        """Return what the manifest says about it: nothing if nothing was measured."""
        how = self.settings
        found: dict[str, Any] = {}
        if self.distances:
            found |= {"draws": how.draws, "distances": _short(self.distances)}
        if self.fitted:
            found |= {"fit_rounds": how.fit_rounds, "fit_distances": _short(self.fitted.distances)}
        return {"measured": how.measured, **found} if found else {}


def choose(
    law: Bundle,
    precision: str,
    how: DrawSettings,
    yardstick: Yardstick | None,
    draws: Iterator[Codes],
    on_progress: Callable[[str], None],
) -> Choice:
    """Measure each of several draws, keep the nearest to fp32, and fit its gains.

    Args:
        law: The law.
        precision: Of the codes.
        how: Says how many draws there are and how many rounds fit the gains.
        yardstick: Measures; None if nothing is to be measured.
        draws: `how.draws` sets of codes, made one at a time.
        on_progress: Called with a line of text for every draw of several, and for every round.

    Raises:
        ValueError: The gains are to be fitted, and an effect is not finite.
    """
    if yardstick is None:
        return Choice(how, next(draws))

    def measure(codes: Codes) -> Measured:
        return yardstick.measure(partial(write_with_codes, law, precision=precision, tensors=codes), precision)

    choice = Choice(how, next(draws)) if how.draws == 1 else _nearest(how, measure, draws, on_progress)
    if not how.fit_rounds:
        return choice
    fitted = fit_gains(
        completed(law, precision, choice.codes),
        lambda codes: measure(completed(law, precision, codes)),
        rounds=how.fit_rounds,
        seed=how.seed,
        on_progress=on_progress,
    )
    return replace(choice, codes=completed(law, precision, fitted.codes), fitted=fitted)


def _nearest(
    how: DrawSettings,
    measure: Callable[[Codes], Measured],
    draws: Iterator[Codes],
    on_progress: Callable[[str], None],
) -> Choice:
    rated: list[tuple[float, int, Codes]] = []
    for number, codes in enumerate(draws):
        found = measure(codes)
        rated.append((found.distance, number, codes))
        on_progress(f"draw {number + 1} of {how.draws}: distance {found.distance:.2f} margins, by {found.worst}")
    _, number, codes = min(rated, key=lambda one: one[0])
    return Choice(how, codes, number, tuple(distance for distance, _, _ in rated))


def _short(distances: Iterable[float]) -> list[float]:
    return [float(f"{distance:.3g}") for distance in distances]
