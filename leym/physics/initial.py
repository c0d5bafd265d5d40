"""Start states, drawn on the host from a counter-based generator.

The seed alone decides them, whatever the device and the slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draws(seed: int, stream: int) -> np.random.Generator:
    """Return the random numbers of a job: Philox keyed by (seed, stream), one stream per independent use of a seed."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))


def complex_noise(shape: tuple[int, ...], seed: int, strength: float) -> NDArray[np.complex64]:
    """Draw θ ~ strength · N(0, 1) per component and return ψ = cos θ + i sin θ, of norm √d per cell.

    Args:
        shape: [H, W, d].
        seed: decides every number.
        strength: standard deviation of the phases, in radians.

    Returns:
        complex64 [H, W, d], computed in float64 and rounded once, so that the last bits do not depend on the host's
        vector unit.
    """
    theta = strength * draws(seed, stream=0).standard_normal(shape)
    return (np.cos(theta) + 1j * np.sin(theta)).astype(np.complex64)


def haar_random(shape: tuple[int, ...], seed: int) -> NDArray[np.complex64]:
    """Draw re, im ~ N(0, 1) and divide by the norm of the cell: Haar-random unit vectors.

    Args:
        shape: [H, W, d].
        seed: decides every number.

    Returns:
        complex64 [H, W, d], computed in float64 and rounded once.
    """
    re, im = draws(seed, stream=0).standard_normal((2, *shape))
    psi: NDArray[np.complex128] = re + 1j * im
    psi /= np.sqrt((np.abs(psi) ** 2).sum(axis=-1, keepdims=True))
    return psi.astype(np.complex64)


def zeros(shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return ψ = 0, complex64 [H, W, d]: the biases of the law start everything."""
    return np.zeros(shape, np.complex64)
