"""The few distribution functions that the statistics need, without scipy."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, exp, lgamma, log, log1p, pi, sqrt


def normal_quantile(p: float) -> float:
    """x with Phi(x) = p, by bisection of erfc: exact to 1e-12, 0 < p < 1."""
    return _root(lambda x: 1 - erfc(x / sqrt(2)) / 2, p, -40.0, 40.0)


def student_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t: 1 - I_x(df/2, 1/2) / 2 with x = df / (df + t^2), t >= 0."""
    tail = incomplete_beta(df / 2, 0.5, df / (df + t * t)) / 2
    return 1 - tail if t >= 0 else tail


def student_quantile(p: float, df: float) -> float:
    """t with P(T <= t) = p, by bisection."""
    edge = 1.0
    while student_cdf(edge, df) < max(p, 1 - p):
        edge *= 2
    return _root(lambda t: student_cdf(t, df), p, -edge, edge)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), regularised, by the continued fraction DLMF 8.17.22 (modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - incomplete_beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d, value, tiny = 1.0, 0.0, 1.0, 1e-300
    for i in range(500):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away(1 + term * d, tiny)
        c = _away(1 + term / c, tiny)
        value *= c * d
        if i and abs(c * d - 1) < 1e-15:
            break
    return front * (value - 1)


def kolmogorov_sf(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution: 2 sum_j (-1)^(j-1) exp(-2 j^2 x^2)."""
    if x < 0.2:  # 1 to 16 digits
        return 1.0
    if x < 1.18:  # the theta-function form converges where the alternating one does not
        total = sum(exp(-((2 * j - 1) ** 2) * pi**2 / (8 * x * x)) for j in range(1, 20))
        return 1 - sqrt(2 * pi) / x * total
    return 2 * sum((-1) ** (j - 1) * exp(-2 * j * j * x * x) for j in range(1, 20))


def _away(value: float, tiny: float) -> float:
    return tiny if abs(value) < tiny else value


def _root(rising: Callable[[float], float], target: float, low: float, high: float) -> float:
    for _ in range(200):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
