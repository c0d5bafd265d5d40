"""Fields that start states are made of, drawn from a universe's own stream. All are float64 [H, W]."""

from __future__ import annotations

from math import pi, tau

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def complex_state(amplitude: Field | float, phase: Field) -> Field:
    """Return amplitude · e^(i phase) as [Re, Im]: [2, H, W]."""
    return np.stack([amplitude * np.cos(phase), amplitude * np.sin(phase)])


def random_phases(random: np.random.Generator, height: int, width: int) -> Field:
    """Draw a phase in [-π, π) per cell."""
    return random.uniform(-pi, pi, (height, width))


def smooth_noise(random: np.random.Generator, height: int, width: int, length: float) -> Field:
    """Draw white noise blurred by a Gaussian of `length` cells, of mean 0 and standard deviation 1, periodic."""
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    blur = np.exp(-0.5 * (tau * length) ** 2 * (ky**2 + kx**2))
    field = np.fft.ifft2(np.fft.fft2(random.standard_normal((height, width))) * blur).real
    field -= field.mean()
    found: Field = field / field.std()
    return found


def plane_phase(height: int, width: int, rows: int, columns: int) -> Field:
    """Return the phase of a plane wave with whole numbers of waves along both axes."""
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    return tau * (rows * y / height + columns * x / width)


def random_plane_phase(random: np.random.Generator, height: int, width: int, shortest: float) -> Field:
    """Draw a plane wave not shorter than `shortest` cells along each axis, and not uniform unless the grid is small."""
    most = [int(side / shortest / 2**0.5) for side in (height, width)]
    while True:
        rows, columns = (int(random.integers(-number, number + 1)) for number in most)
        if rows or columns or not any(most):
            return plane_phase(height, width, rows, columns) + random.uniform(-pi, pi)


def vortex_phase(random: np.random.Generator, height: int, width: int) -> Field:
    """Draw the phase of a smooth complex field with a few zeros: vortices of both signs, far apart, without seams."""
    length = min(height, width) / random.uniform(8, 16)
    re, im = (smooth_noise(random, height, width, length) for _ in range(2))
    found: Field = np.arctan2(im, re)
    return found


def disc(random: np.random.Generator, height: int, width: int, radius: float) -> NDArray[np.bool_]:
    """Draw a disc of `radius` cells at a random place of the torus: bool [H, W]."""
    cy, cx = random.random(2) * (height, width)
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    dy, dx = (y - cy + height / 2) % height - height / 2, (x - cx + width / 2) % width - width / 2
    found: NDArray[np.bool_] = dy**2 + dx**2 < radius**2
    return found
