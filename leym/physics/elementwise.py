"""Elementwise functions whose bits do not depend on the position of a number in its array, and their fit to caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

LANES = 64  # a multiple of the numbers that a loop of torch takes at a time on any CPU
CACHED = 2**18  # bytes of an array that stay in the cache of a core, with a few intermediate results of that size


def cached_parts(n: int, nbytes: int) -> Iterator[slice]:
    """Split n universes of so many bytes each into parts that the caches of the caller's compute threads hold.

    Ten operations on one part after another take half of the time of ten operations on everything: what one writes, the
    next still finds in the cache, and the memory of the intermediate results is used again.
    """
    return parts(n, nbytes, CACHED * torch.get_num_threads())


def parts(n: int, nbytes: int, most: int) -> Iterator[slice]:
    """Split n universes of so many bytes each into parts of at most `most` bytes, or of one universe."""
    together = max(1, most // nbytes)
    for first in range(0, n, together):
        yield slice(first, min(first + together, n))


def per_number(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Apply a transcendental function to each number, with bits that do not depend on the number's position.

    On a CPU, torch splits an array among its threads, and computes what is left over after whole vectors of each part
    with other instructions, which round differently. So the arrays are filled up to whole vectors of every part.
    """
    shape, numbers = arguments[0].shape, arguments[0].numel()
    whole = LANES * torch.get_num_threads()
    if arguments[0].device.type != "cpu" or numbers % whole == 0:
        return function(*(argument.contiguous() for argument in arguments))
    filled = [pad(argument.flatten(), (0, -numbers % whole), value=1.0) for argument in arguments]
    return function(*filled)[:numbers].view(shape)
