"""Interface of object stores. Objects are written as a whole and never change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from leym.contract.problems import Problem

KEY_LENGTH = 512
# Short enough for any file system. Never begins with a dot, as ".." and temporary files do.
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
_KEY = re.compile(rf"{_NAME}(/{_NAME})*")


class Missing(LookupError):  # noqa: N818 - an expected answer of a store
    """There is no object with this key."""


class StoreUnavailable(OSError):  # noqa: N818 - reads as what happened
    """The store did not answer; trying again may help. Stores of files raise other OSErrors, such as disk full."""


class Entry(NamedTuple):
    """An object in a listing. `modified` is in seconds since 1970, by the clock of the store."""

    key: str
    size: int
    modified: float


class Store(Protocol):
    """Stores bytes by key. A key is a relative path such as `jobs/<id>/phase/000000.1`; others raise Problem 400.

    All methods are thread-safe, and raise OSError if the store fails. There is no conditional put, because no writer
    overwrites the object of another one: keys contain the epoch of their writer (`leym.frames.manifest`), and the job
    table accepts commits of the current epoch only.
    """

    def put(self, key: str, *parts: bytes) -> None:
        """Write an object, its bytes in one part or in several that follow each other.

        It is durable when the call returns; until then, readers see the previous object or none.
        """

    def get(self, key: str) -> bytes:
        """Read a whole object.

        Raises:
            Missing: there is no such object.
        """

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`, or fewer at the end of the object.

        Raises:
            Missing: there is no such object.
        """

    def head(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if there is no such object."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""

    def list(self, prefix: str) -> Iterator[str]:
        """Iterate over the keys below a folder, in any order; `prefix` ends with a slash."""

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Iterate over the objects below a folder, with sizes and times; those of a subfolder come together."""

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects below a folder. Returns their number."""


def check_key(key: str) -> str:
    """Return `key` if it is valid, so that it cannot lead out of the store.

    Raises:
        Problem: 400 if it is not.
    """
    if not _KEY.fullmatch(key) or len(key) > KEY_LENGTH:
        raise Problem(
            400,
            "Bad key",
            f"object key {key[:100]!r}: names of letters, digits, '_', '-' and '.' (not first), of at most "
            f"200 characters, joined by '/', {KEY_LENGTH} characters in all",
        )
    return key
