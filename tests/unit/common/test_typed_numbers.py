"""Numbers in options and settings have bounds, and an error names them."""

from __future__ import annotations

import pytest
import typer
from pydantic import ValidationError

from leym.common.typed_numbers import real, whole
from leym.settings import Settings
from tests.support.command import leym_here

HUGE = "9" * 25


@pytest.mark.parametrize("text", ["", "x", "0", "9", "-1", "1_0", " 5", "5.0", "٣", "²", "nan", HUGE, "9" * 5000])
def test_a_whole_number_outside_its_bounds_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a whole number from 1 to 8"):
        whole(1, 8)(text)
    assert [whole(1, 8)(good) for good in ("1", "8")] == [1, 8]


@pytest.mark.parametrize("text", ["", "x", "0.4", "8.1", "-1", "1_0", "1e0", "nan", "inf", HUGE])
def test_a_decimal_number_outside_its_bounds_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"expected a number from 0\.5 to 8"):
        real(0.5, 8)(text)
    assert [real(0.5, 8)(good) for good in ("0.5", "8", "2.25")] == [0.5, 8.0, 2.25]


NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [HUGE, "-1", "nan", "inf"])
def test_every_number_among_the_settings_is_bounded(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LEYM_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("bench aurora", "--slots"),
        ("bench aurora", "--seconds"),
        ("laws inspect aurora", "--slots"),
        ("fidelity run aurora", "--members"),
        ("fidelity run aurora", "--steps"),
        ("doctor", "--examples"),
        ("up", "--slots"),
        ("up", "--workers"),
    ],
)
def test_numbers_among_options_are_bounded(command: str, option: str) -> None:
    done = leym_here(*command.split(), option, HUGE)
    assert done.returncode == 2, done.stderr
    assert HUGE in done.stderr
    assert option in done.stderr
