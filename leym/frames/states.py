"""Start states that users upload: npy files, complex64 [H, W, d], named by their digest."""

from __future__ import annotations

import hashlib
import io
from math import prod
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from leym.frames.store import Missing, Store
from leym.problems import Problem, invalid, not_found
from leym.spec import LIMITS

DTYPE = np.dtype("<c8")

# What numpy's reader of headers raises for one that somebody made up; it evaluates their text as a Python literal.
_BAD_HEADER = (ValueError, SyntaxError, TypeError, TokenError, MemoryError, RecursionError)


def put_state(store: Store, data: bytes) -> str:
    """Check and keep the content of an npy file; returns its id, the sha256 of the bytes as they came.

    Raises Problem 413 if it is too large, 422 if it is no finite complex64 [H, W, d].
    """
    if len(data) > LIMITS.upload_bytes:
        detail = f"the file has {len(data)} bytes; at most {LIMITS.upload_bytes}"
        raise Problem(413, "Too large", detail, errors=[{"pointer": "", "detail": detail}])
    state = _parse(data)
    if bad := int(np.count_nonzero(~np.isfinite(state))):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(state))[0])
        raise invalid(f"the state has {bad} values that are not finite, the first at {list(where)}")
    state_id = hashlib.sha256(data).hexdigest()
    if store.head(_key(state_id)) is None:
        store.put(_key(state_id), data)
    return state_id


def get_state(store: Store, state_id: str) -> NDArray[np.complex64]:
    """complex64 [H, W, d]. Raises Problem 404 if there is none, 503 if the file is damaged."""
    try:
        data = store.get(_key(state_id))
    except Missing as error:
        raise not_found("uploaded state", state_id) from error
    if hashlib.sha256(data).hexdigest() != state_id:
        raise Problem(503, "State unreadable", f"the stored file of state {state_id} is not what was uploaded")
    return np.array(_parse(data), order="C")


def _parse(data: bytes) -> NDArray[np.complex64]:
    """The array, read-only in the bytes as they are: a few of them can announce more than any machine holds."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version[0]}.{version[1]} of the format; known: 1.0, 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except _BAD_HEADER as error:
        raise invalid(f"the body is no npy file: {error}") from error
    if dtype != DTYPE:
        raise invalid(f"the dtype is {dtype}; complex64 is needed")
    low, high = LIMITS.side
    if len(shape) != 3 or not all(low <= side <= high for side in shape[:2]) or not 1 <= shape[2] <= 1024:
        raise invalid(f"the shape is {list(shape)}; [H, W, d] with sides from {low} to {high} is needed")
    there = len(data) - file.tell()
    if there != prod(shape) * DTYPE.itemsize:
        raise invalid(f"{there} bytes follow the header; {list(shape)} has {prod(shape) * DTYPE.itemsize}")
    return np.frombuffer(data, DTYPE, offset=file.tell()).reshape(shape, order="F" if by_column else "C")


def _key(state_id: str) -> str:
    return f"states/{state_id}.npy"
