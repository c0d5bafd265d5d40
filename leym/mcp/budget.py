"""A budget for submitted work: counted in cell-steps, device seconds or money, and never exceeded by a submission."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["cell-steps", "device-seconds", "cost"]
UNITS: tuple[Unit, ...] = ("cell-steps", "device-seconds", "cost")


class BudgetError(ValueError):
    """A submission would exceed the budget, or nobody knows whether it would."""


class Budget:
    """An amount of work that may still be submitted. Threads can share it.

    Args:
        total: the amount, in `unit`.
        unit: "cell-steps" are exact; "device-seconds" and "cost" are those of the quote that nine of ten jobs keep.
    """

    def __init__(self, total: float, unit: Unit):
        self.total, self.unit = total, unit
        self._spent = 0.0
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget such as "1e9 cell-steps", "3600 device-seconds" or "5 cost".

        Raises:
            ValueError: the amount is no positive number, or the unit is unknown.
        """
        amount, _, unit = text.strip().partition(" ")
        unit = unit.strip()
        try:
            total = float(amount)
        except ValueError:
            total = math.nan
        if not 0 < total < math.inf or unit not in UNITS:
            example = 'write an amount and a unit, such as "1e9 cell-steps"'
            raise ValueError(f"budget {text!r}: {example}; the units are {', '.join(UNITS)}")
        return cls(total, unit)

    @property
    def left(self) -> float:
        """The amount that may still be submitted."""
        with self._lock:
            return self.total - self._spent

    def price(self, quote: Mapping[str, Any]) -> float:
        """Return what a quote (`QuoteBody`) takes of the budget.

        Raises:
            BudgetError: the quote does not know it.
        """
        if self.unit == "cell-steps":
            return float(quote["cell_steps"])
        found = quote.get(self.unit.replace("-", "_"))
        if found is None:
            unknown = "the service has no price (LEYM_PRICE_PER_DEVICE_HOUR)" if self.unit == "cost" else ""
            reason = quote.get("reason") or unknown or "no device seconds were counted yet"
            raise BudgetError(
                f"refused: the budget is in {self.unit}, and the quote does not know them ({reason}); nothing was"
                " submitted. A budget in cell-steps always works"
            )
        return float(found["p90"])

    def reserve(self, amount: float) -> None:
        """Take an amount off the budget.

        Raises:
            BudgetError: less is left; nothing is taken then.
        """
        with self._lock:
            left = self.total - self._spent
            if amount > left:
                raise BudgetError(
                    f"refused: this takes {amount:.6g} {self.unit}, and {left:.6g} of the budget of {self.total:.6g}"
                    " are left; nothing was submitted. Choose fewer steps, a smaller grid or fewer members"
                )
            self._spent += amount

    def give_back(self, amount: float) -> None:
        """Return an amount that was reserved for what then was not submitted."""
        with self._lock:
            self._spent = max(0.0, self._spent - amount)

    def as_dict(self) -> dict[str, Any]:
        """Return the budget as answers show it."""
        return {"unit": self.unit, "total": self.total, "left": self.left}
