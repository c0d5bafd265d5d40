"""Information flow between neighbours (M11, the expensive tier).

The symbol of a cell is its dominant channel; the symbols of a member are int64 [T, H, W], T frames. Mutual information
and transfer entropy are plug-in estimates in bits, minus the mean of surrogates whose source is shuffled in time
(Lizier, Prokopenko, Zomaya, PRE 77, 026110 (2008), arXiv 0809.3275).
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor


def entropy_bits(codes: Tensor) -> float:
    """Return the plug-in Shannon entropy of integer codes (any shape), in bits."""
    counts = torch.unique(codes.flatten(), return_counts=True)[1].double()
    p = counts / counts.sum()
    return float(-(p * p.log()).sum() / log(2))


def mutual_information(a: Tensor, b: Tensor, alphabet: int) -> float:
    """Return I(A; B) = H(A) + H(B) - H(A, B) in bits; int64 of equal shapes, symbols below `alphabet`."""
    return entropy_bits(a) + entropy_bits(b) - entropy_bits(a * alphabet + b)


def transfer_entropy(source: Tensor, target: Tensor, alphabet: int, history: int = 1) -> float:
    """Return the transfer entropy from source to target in bits, pooled over cells.

    H(x', x^k) - H(x^k) - H(x', x^k, y) + H(x^k, y), with x' the next symbol of the target, x^k its last k symbols and y
    the present symbol of the source.

    Args:
        source: int64 [T, ...].
        target: int64 [T, ...].
        alphabet: all symbols are below it.
        history: k.
    """
    past = torch.zeros_like(target[history:])
    for lag in range(1, history + 1):
        past = past * alphabet + target[history - lag : target.shape[0] - lag]
    after, y = target[history:], source[history - 1 : -1]
    size = alphabet**history
    with_next = after * size + past
    return (
        entropy_bits(with_next)
        - entropy_bits(past)
        - entropy_bits(with_next * alphabet + y)
        + entropy_bits(past * alphabet + y)
    )


def information_flow(
    symbols: Tensor, alphabet: int, history: int = 1, surrogates: int = 4, seed: int = 0
) -> dict[str, float]:
    """Measure stored information and information flow of one member, in bits, minus those of surrogates.

    A surrogate has the source's frames in another order: it keeps both marginals and breaks the pairing.

    Returns:
        `stored`: I(x_t; x_(t+1)) of a cell; `flow`: transfer entropy from the left neighbour.
    """
    left, here = symbols[:, :, :-1], symbols[:, :, 1:]
    now, after = symbols[:-1], symbols[1:]
    stored, flow = mutual_information(now, after, alphabet), transfer_entropy(left, here, alphabet, history)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(surrogates):
        order = torch.randperm(symbols.shape[0], generator=generator)
        stored -= mutual_information(now[order[order < len(now)]], after, alphabet) / surrogates
        flow -= transfer_entropy(left[order], here, alphabet, history) / surrogates
    return {"stored": stored, "flow": flow}
