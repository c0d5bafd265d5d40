"""Uploaded start states: npy files, complex64 [H, W, d], named by their digest.

The removal of an unneeded state has two steps. First it is retired: a copy with a unique key takes its place. The copy
is deleted an hour later. Reading a retired state restores it. So a job that is submitted during the removal still finds
its state, even if a process is delayed by up to an hour.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from math import prod
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem, invalid, not_found
from leym.contract.spec import LIMITS
from leym.frames.stores.base import Entry, Missing, Store

DTYPE = np.dtype("<c8")
FOLDER = "states/"
RETIRED = "states/retired/"
RETIRED_S = 3600.0  # time from retirement to deletion

# Errors of numpy's header reader for forged headers; it evaluates their text as a Python literal.
_BAD_HEADER = (ValueError, SyntaxError, TypeError, TokenError, MemoryError, RecursionError)


def put_state(store: Store, data: bytes) -> str:
    """Validate and store an npy file. Returns its id, the SHA-256 of its bytes.

    Raises:
        Problem: 413 if the file is too large; 422 if it is not a finite complex64 array [H, W, d].
    """
    if len(data) > LIMITS.upload_bytes:
        detail = f"the file has {len(data)} bytes; at most {LIMITS.upload_bytes}"
        raise Problem(413, "Too large", detail, errors=[{"pointer": "", "detail": detail}])
    state = _parse(data)
    if bad := int(np.count_nonzero(~np.isfinite(state))):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(state))[0])
        raise invalid(f"the state has {bad} values that are not finite, the first at {list(where)}")
    state_id = hashlib.sha256(data).hexdigest()
    store.put(_key(state_id), data)  # also if it exists: that resets its age
    return state_id


def get_state(store: Store, state_id: str) -> NDArray[np.complex64]:
    """Read a state: complex64 [H, W, d].

    Raises:
        Problem: 404 if there is no such state; 503 if its file is damaged.
    """
    try:
        data = store.get(_key(state_id))
    except Missing:
        data = _restore(store, state_id)
    if hashlib.sha256(data).hexdigest() != state_id:
        raise Problem(503, "State unreadable", f"the stored file of state {state_id} is not what was uploaded")
    return np.array(_parse(data), order="C")


def has_state(store: Store, state_id: str) -> bool:
    """Return True if the state exists, retired or not."""
    return store.head(_key(state_id)) is not None or any(store.list(f"{RETIRED}{state_id}/"))


def stale_states(
    store: Store, needed: frozenset[str], older_than_s: float, now: float | None = None
) -> tuple[list[Entry], list[Entry]]:
    """Find states that nobody needs.

    Args:
        store: object store of the service.
        needed: ids of states that live jobs start from.
        older_than_s: age from which an upload may be retired.
        now: current time in seconds since 1970.

    Returns:
        Uploads to retire, and retired states to delete.
    """
    now = time.time() if now is None else now
    retire, delete = [], []
    for entry in store.scan(FOLDER):
        age_s = now - entry.modified
        if entry.key.startswith(RETIRED):
            if age_s > RETIRED_S and entry.key.split("/")[2] not in needed:
                delete.append(entry)
        elif age_s > older_than_s and entry.key.removeprefix(FOLDER).removesuffix(".npy") not in needed:
            retire.append(entry)
    return retire, delete


def retire_state(store: Store, key: str) -> None:
    """Replace an upload by a retired copy. Its key is unique, so that nobody deletes a newer copy instead."""
    try:
        data = store.get(key)
    except Missing:  # another process has just retired it
        return
    store.put(f"{RETIRED}{key.removeprefix(FOLDER).removesuffix('.npy')}/{secrets.token_hex(8)}", data)
    store.delete([key])


def _restore(store: Store, state_id: str) -> bytes:
    """Turn a retired state into an upload again. Returns its file.

    Raises:
        Problem: 404 if there is no such state.
    """
    for key in list(store.list(f"{RETIRED}{state_id}/")):
        try:
            data = store.get(key)
        except Missing:  # just deleted; there may be a newer copy
            continue
        store.put(_key(state_id), data)
        return data
    raise not_found("uploaded state", state_id)


def _parse(data: bytes) -> NDArray[np.complex64]:
    """Return the array as a read-only view of the file. It allocates nothing, because a header can claim any size."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version[0]}.{version[1]} of the format; known: 1.0, 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except _BAD_HEADER as error:
        raise invalid(f"the body is not an npy file: {error}") from error
    if dtype != DTYPE:
        raise invalid(f"the dtype is {dtype}; complex64 is needed")
    low, high = LIMITS.side
    if len(shape) != 3 or not all(low <= side <= high for side in shape[:2]) or not 1 <= shape[2] <= 1024:
        raise invalid(f"the shape is {list(shape)}; [H, W, d] with sides from {low} to {high} is needed")
    size = len(data) - file.tell()
    if size != prod(shape) * DTYPE.itemsize:
        raise invalid(f"{size} bytes follow the header; {list(shape)} has {prod(shape) * DTYPE.itemsize}")
    return np.frombuffer(data, DTYPE, offset=file.tell()).reshape(shape, order="F" if by_column else "C")


def _key(state_id: str) -> str:
    return f"{FOLDER}{state_id}.npy"
