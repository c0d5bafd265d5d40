"""A budget covers what it says, and says why it does not."""

from __future__ import annotations

import threading

import pytest

from leym.mcp.budget import Budget, BudgetError

QUOTE = {"cell_steps": 1000, "device_seconds": {"p50": 1.0, "p90": 2.5}, "cost": None, "reason": None}


@pytest.mark.parametrize(
    ("text", "total", "unit"),
    [("1e9 cell-steps", 1e9, "cell-steps"), (" 60  device-seconds ", 60, "device-seconds"), ("0.5 cost", 0.5, "cost")],
)
def test_a_budget_is_an_amount_and_a_unit(text, total, unit):
    budget = Budget.parse(text)
    assert (budget.total, budget.unit, budget.left) == (total, unit, total)


@pytest.mark.parametrize("text", ["", "5", "cell-steps", "-1 cost", "nan cost", "inf cost", "0 cost", "5 euro"])
def test_what_is_no_budget_is_refused_with_the_units(text):
    with pytest.raises(ValueError, match="cell-steps, device-seconds, cost"):
        Budget.parse(text)


def test_the_price_is_exact_work_or_what_nine_of_ten_jobs_keep():
    assert Budget(1, "cell-steps").price(QUOTE) == 1000
    assert Budget(1, "device-seconds").price(QUOTE) == 2.5
    with pytest.raises(BudgetError, match="LEYM_PRICE_PER_DEVICE_HOUR"):
        Budget(1, "cost").price(QUOTE)
    unknown = QUOTE | {"device_seconds": None, "reason": "no similar job has succeeded yet"}
    with pytest.raises(BudgetError, match=r"no similar job.*nothing was submitted"):
        Budget(1, "device-seconds").price(unknown)


def test_what_does_not_fit_takes_nothing():
    budget = Budget(10, "cell-steps")
    budget.reserve(7)
    with pytest.raises(BudgetError, match="takes 4 cell-steps, and 3 of the budget of 10 are left"):
        budget.reserve(4)
    budget.reserve(3)
    assert budget.left == 0
    budget.give_back(3)
    assert budget.as_dict() == {"unit": "cell-steps", "total": 10, "left": 3}


def test_many_threads_cannot_pass_it_together():
    budget, taken = Budget(100, "cell-steps"), []

    def take() -> None:
        for _ in range(50):
            try:
                budget.reserve(1)
            except BudgetError:
                return
            taken.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), budget.left) == (100, 0)
