"""CPU threads of torch: the device thread owns the only pool, every other thread computes alone.

A step on a CPU is many small parallel regions. Between them the threads of an OpenMP pool spin, but only while the
process has no more pool threads than processors. A second pool, though idle, makes every region of the first wait for
the operating system to wake its threads: measured on two cores, steps then take twice as long (docs/benchmarks.md).
"""

from __future__ import annotations

from threading import Lock, Thread

import torch

_lock = Lock()
_owners = 0
_size = 0


def pool_size() -> int:
    """Return how many threads the device thread of this process computes on.

    That is what torch would use by itself: `OMP_NUM_THREADS`, or the processors that this process may run on. The
    answer is the same in every thread.
    """
    with _lock:
        return _size if _owners else torch.get_num_threads()


def own_pool(threads: int) -> None:
    """Give the calling thread a pool of `threads`; threads that start from now on compute alone.

    Threads that ran torch before keep their number: they call `compute_alone` themselves.
    """
    global _owners, _size
    with _lock:
        _owners, _size = _owners + 1, threads
        _compute_on(threads)
        # torch hands the last number set in any thread to each new thread: set it in one that then ends
        setter = Thread(target=torch.set_num_threads, args=(1,))
        setter.start()
        setter.join()


def disown_pool() -> None:
    """Undo `own_pool`, from any thread: the last owner gives its number to the caller and to new threads."""
    global _owners
    with _lock:
        _owners -= 1
        if not _owners:
            _compute_on(_size)


def compute_alone() -> None:
    """Make the calling thread run torch on itself only."""
    _compute_on(1)


def compute_on_pool() -> None:
    """Make the calling thread compute on as many threads as the device thread does, which must have nothing to do."""
    _compute_on(pool_size())


def _compute_on(threads: int) -> None:
    # Asking initialises the thread, which would otherwise undo the number when it first computes. Setting more than one
    # starts XNNPACK's threads as well, which nothing here uses, so it is done only where the number differs.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
