"""Object store in an S3 bucket, by obstore. A PUT is atomic, and durable when S3 answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from leym.common.loopback import bypass_proxies_for_loopback
from leym.frames.stores.base import Entry, Missing, StoreUnavailable, check_key

KEYS_PER_DELETE = 1000  # limit of one request to S3


class S3Store:
    """Stores objects in an S3 bucket, or in memory for tests."""

    def __init__(self, url: str):
        """Open s3://bucket/prefix, with credentials, region and endpoint from AWS_* variables, or memory://."""
        bypass_proxies_for_loopback(os.environ)  # obstore would ask a proxy for a store on this machine
        self._store: Any = from_url(url)

    def put(self, key: str, *parts: bytes) -> None:
        """See `Store.put`."""
        with _errors(key):
            obstore.put(self._store, check_key(key), b"".join(parts))

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        with _errors(key):
            return bytes(obstore.get(self._store, check_key(key)).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `Store.get_range`."""
        if length == 0:
            return b""
        try:
            with _errors(key):
                options: Any = {"range": (start, start + length)}
                return bytes(obstore.get(self._store, check_key(key), options=options).bytes())
        except StoreUnavailable:
            size = self.head(key)
            if size is not None and start >= size:  # S3 refuses a range behind the end
                return b""
            raise

    def head(self, key: str) -> int | None:
        """See `Store.head`."""
        try:
            with _errors(key):
                return int(obstore.head(self._store, check_key(key))["size"])
        except Missing:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        left = (check_key(key) for key in keys)
        while some := list(islice(left, KEYS_PER_DELETE)):
            try:
                with _errors(some[0]):
                    obstore.delete(self._store, some)
            except Missing:  # S3 ignores a missing key; memory:// stops at it
                self._delete_each(some)

    def _delete_each(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                with _errors(key):
                    obstore.delete(self._store, key)
            except Missing:
                continue

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`."""
        for entry in self.scan(prefix):
            yield entry.key

    def scan(self, prefix: str) -> Iterator[Entry]:
        """See `Store.scan`."""
        check_key(prefix.rstrip("/"))
        with _errors(prefix):
            for page in obstore.list(self._store, prefix=prefix):
                for found in page:
                    yield Entry(str(found["path"]), int(found["size"]), found["last_modified"].timestamp())

    def delete_prefix(self, prefix: str) -> int:
        """See `Store.delete_prefix`."""
        keys = list(self.list(prefix))
        self.delete(keys)
        return len(keys)


@contextmanager
def _errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:  # obstore's NotFoundError is a subclass
        raise Missing(key) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(f"object {key!r}: {type(error).__name__}: {error}") from error
