"""Start states, drawn on the host from a counter-based generator.

The seed alone decides them, whatever the device and the slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from leym.physics.elementwise import cached_parts, per_number


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
    parts = complex_noises(shape, [seed], [strength])[0]
    psi = np.empty(shape, np.complex64)
    psi.real, psi.imag = np.split(parts, 2, axis=-1)
    return psi


def complex_noises(shape: tuple[int, ...], seeds: Sequence[int], strengths: Sequence[float]) -> NDArray[np.float32]:
    """Draw the `complex_noise` of n universes, each of which depends on its own seed only.

    Returns:
        float32 [n, H, W, 2d]: the real parts of a cell, then its imaginary parts, as a batch keeps them.
    """
    parts, d = torch.empty(len(seeds), *shape[:-1], 2 * shape[-1]), shape[-1]
    numbers = draws(0, stream=0)
    for some in cached_parts(len(seeds), 8 * prod(shape)):
        theta = np.empty((some.stop - some.start, *shape))
        for row, seed, strength in zip(theta, seeds[some], strengths[some], strict=True):
            _restart(numbers, seed)
            numbers.standard_normal(out=row)
            row *= strength
        phases = torch.from_numpy(theta)
        parts[some, ..., :d], parts[some, ..., d:] = per_number(torch.cos, phases), per_number(torch.sin, phases)
    found: NDArray[np.float32] = parts.numpy()
    return found


def _restart(numbers: np.random.Generator, seed: int) -> None:
    """Turn a generator from `draws` into that of another seed, stream 0: a new one would take four times as long."""
    nothing = np.zeros(4, np.uint64)
    begin = {"counter": nothing, "key": np.array([seed, 0], np.uint64)}
    state = {"bit_generator": "Philox", "state": begin, "buffer": nothing, "buffer_pos": 4}
    numbers.bit_generator.state = state | {"has_uint32": 0, "uinteger": 0}


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


def uniform_in_box(shape: tuple[int, ...], seed: int, low: float, high: float) -> NDArray[np.complex64]:
    """Draw real and imaginary parts uniformly in [low, high].

    Args:
        shape: [H, W, d].
        seed: decides every number.
        low: least value of a part.
        high: largest value of a part.

    Returns:
        complex64 [H, W, d], computed in float64 and rounded once.
    """
    re, im = draws(seed, stream=0).uniform(low, high, (2, *shape))
    psi: NDArray[np.complex128] = re + 1j * im
    return psi.astype(np.complex64)


def one_living_cell(shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return zeros but for the cell at (H // 2, W // 2), whose real channels are 1 from the fourth on.

    The seed of Mordvintsev et al., "Growing neural cellular automata", Distill (2020); channels 0 to 2 are its colour.
    A cell with fewer than four real channels (d = 1) has 1 in all.

    Args:
        shape: [H, W, d].

    Returns:
        complex64 [H, W, d].
    """
    h, w, d = shape
    channels = np.ones(2 * d, np.float32)
    channels[: 3 if d > 1 else 0] = 0
    psi = np.zeros(shape, np.complex64)
    psi[h // 2, w // 2] = channels[:d] + 1j * channels[d:]
    return psi


def smooth(
    shape: tuple[int, ...], seed: int, scale: float, re: tuple[float, float], im: tuple[float, float]
) -> NDArray[np.complex64]:
    """Draw smooth random fields with uniform values.

    g = Gaussian noise filtered by exp(-scale² |k|² / 2) on the periodic grid, divided by its standard deviation;
    value = low + (high - low) Φ(g), Φ the normal distribution function: one field per channel and part.

    Args:
        shape: [H, W, d].
        seed: decides every number.
        scale: standard deviation of the filter in cells.
        re: lowest and highest real part.
        im: lowest and highest imaginary part.

    Returns:
        complex64 [H, W, d], computed in float64 and rounded once.
    """
    h, w, d = shape
    noise = draws(seed, stream=0).standard_normal((2 * d, h, w))
    ky, kx = 2 * np.pi * np.fft.fftfreq(h)[:, None], 2 * np.pi * np.fft.rfftfreq(w)[None, :]
    field = np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-0.5 * scale**2 * (ky**2 + kx**2)), (h, w))
    field -= field.mean((1, 2), keepdims=True)
    field /= np.maximum(field.std((1, 2), keepdims=True), np.finfo(float).tiny)
    uniform = per_number(torch.special.ndtr, torch.from_numpy(field)).numpy()
    span = np.array([re] * d + [im] * d)
    parts = np.moveaxis(span[:, :1, None] + (span[:, 1:] - span[:, :1])[:, :, None] * uniform, 0, -1)
    psi: NDArray[np.complex128] = parts[..., :d] + 1j * parts[..., d:]
    return psi.astype(np.complex64)


def zeros(shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return ψ = 0, complex64 [H, W, d]: the biases of the law start everything."""
    return np.zeros(shape, np.complex64)
