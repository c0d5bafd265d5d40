"""Smooth start states: their span, their distribution and their correlation length."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from leym.contract.initial import Smooth
from leym.physics.initial import smooth


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_values_fill_their_span_evenly_and_are_correlated_over_twice_the_scale(scale):
    psi = np.stack([smooth((64, 64, 2), seed, scale, (0.5, 1.0), (-0.2, 0.3)) for seed in range(8)])
    for part, (low, high) in ((psi.real, (0.5, 1.0)), (psi.imag, (-0.2, 0.3))):
        values = (part - low) / (high - low)
        assert values.min() >= 0
        assert values.max() <= 1
        assert np.histogram(values, 4, (0, 1))[0] / values.size == pytest.approx([0.25] * 4, abs=0.04)
    # the autocorrelation of noise filtered by a Gaussian of width s is a Gaussian of width √2 s
    field = psi.real - psi.real.mean((1, 2), keepdims=True)
    shift = round(np.sqrt(2) * scale)
    ratio = (field * np.roll(field, shift, 1)).mean() / (field**2).mean()
    assert ratio == pytest.approx(np.exp(-(shift**2) / (4 * scale**2)), abs=0.06)


def test_the_seed_decides_and_channels_differ():
    first, again, other = (smooth((16, 12, 2), seed, 2.0, (-1, 1), (-1, 1)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.dtype == np.complex64
    assert not np.array_equal(first[..., 0], first[..., 1])


def test_an_empty_span_gives_one_value():
    assert smooth((8, 8, 1), 0, 2.0, (0.25, 0.25), (0.0, 0.0)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("wrong", "what"), [({"re": [1, 0]}, "re = "), ({"im": [0, 200]}, "im"), ({"scale": 0.1}, "scale")]
)
def test_a_wrong_span_or_scale_is_named(wrong, what):
    with pytest.raises(ValidationError, match=what):
        Smooth.model_validate({"kind": "smooth", **wrong})
