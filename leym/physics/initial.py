"""Start states, drawn on the host from a counter-based generator.

The seed alone decides them, on every device and in every slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leym.spec import ComplexNoise, RandomState, Zeros


def draws(seed: int, stream: int) -> np.random.Generator:
    """The job's random numbers: Philox keyed by (seed, stream). Streams keep independent uses of one seed apart."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))


def initial_state(
    kind: ComplexNoise | RandomState | Zeros, grid: tuple[int, int], d_state: int, seed: int
) -> NDArray[np.complex64]:
    """complex64 [H, W, d] at step 0.

    complex_noise  theta ~ strength N(0, 1), psi = cos theta + i sin theta   (norm sqrt(d) per cell)
    random         re, im ~ N(0, 1), divided by the norm of the cell         (Haar-random unit vectors)
    zeros          0                                                         (the biases of the law start everything)

    Computed in float64 and rounded once, so that the last bits do not depend on the host's vector unit.
    """
    shape = (*grid, d_state)
    random = draws(seed, stream=0)
    match kind:
        case ComplexNoise(strength=strength):
            theta = strength * random.standard_normal(shape)
            psi = np.cos(theta) + 1j * np.sin(theta)
        case RandomState():
            re, im = random.standard_normal((2, *shape))
            psi = re + 1j * im
            psi /= np.sqrt((np.abs(psi) ** 2).sum(axis=-1, keepdims=True))
        case Zeros():
            psi = np.zeros(shape, np.complex128)
    return psi.astype(np.complex64)
