"""The object store: files with fsync and rename, or S3 through obstore. Objects are written whole and never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from leym.contract.problems import Problem

KEY_LENGTH = 512
# Short enough for any file system. Never begins with a dot: neither "..", nor a file that is being written.
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
_KEY = re.compile(rf"{_NAME}(/{_NAME})*")


class Missing(LookupError):
    """There is no object of this key."""


class StoreUnavailable(OSError):
    """The store did not do what it was asked; trying again may help. Files raise other OSErrors (disk full)."""


class Entry(NamedTuple):
    """An object as a listing shows it. modified: seconds since 1970, by the store's clock."""

    key: str
    size: int
    modified: float


class Store(Protocol):
    """Bytes by key. Keys are relative paths such as `jobs/<id>/phase/00000000.1`; others raise Problem 400.

    All methods may be called from several threads, and raise OSError when the store fails. There is no conditional
    put, because nobody ever writes over another's object: names hold the epoch of their writer
    (`leym.frames.manifest`), and what is true is decided by the job table, where a commit names its epoch.
    """

    def put(self, key: str, data: bytes) -> None:
        """Write an object: when this returns it is durable, and before that readers see nothing (or what was there)."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises Missing."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer where the object ends. Raises Missing."""

    def head(self, key: str) -> int | None:
        """Size in bytes, or None if there is no such object."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, a folder with its slash, in any order."""

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Like `list`, with sizes and times; the objects below one folder come one after the other."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object under a folder; returns how many."""


def check_key(key: str) -> str:
    """`key`, if it names a place below the store and nothing else. Raises Problem 400."""
    if not _KEY.fullmatch(key) or len(key) > KEY_LENGTH:
        raise Problem(
            400,
            "Bad key",
            f"object key {key[:100]!r}: names of letters, digits, '_', '-' and '.' (not first), of at most "
            f"200 characters, joined by '/', {KEY_LENGTH} characters in all",
        )
    return key
