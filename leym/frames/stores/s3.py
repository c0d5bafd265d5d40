"""Objects in a bucket, through obstore. A PUT of S3 is atomic and durable when it is answered."""

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

AT_ONCE = 1000  # keys that one request of S3 may name to delete


class BucketStore:
    """See `leym.frames.stores.base.Store`."""

    def __init__(self, url: str):
        """s3://bucket/prefix, with credentials, region and endpoint in AWS_* variables; memory:// is for tests."""
        bypass_proxies_for_loopback(os.environ)  # the store may be on this machine, and obstore asks proxies
        self._store: Any = from_url(url)

    def put(self, key: str, data: bytes) -> None:
        with _errors(key):
            obstore.put(self._store, check_key(key), data)

    def get(self, key: str) -> bytes:
        with _errors(key):
            return bytes(obstore.get(self._store, check_key(key)).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        try:
            with _errors(key):
                options: Any = {"range": (start, start + length)}
                return bytes(obstore.get(self._store, check_key(key), options=options).bytes())
        except StoreUnavailable:
            size = self.head(key)
            if size is not None and start >= size:  # buckets refuse a range of which nothing is there
                return b""
            raise

    def head(self, key: str) -> int | None:
        try:
            with _errors(key):
                return int(obstore.head(self._store, check_key(key))["size"])
        except Missing:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        left = (check_key(key) for key in keys)
        while some := list(islice(left, AT_ONCE)):
            try:
                with _errors(some[0]):
                    obstore.delete(self._store, some)
            except Missing:  # S3 does not mind a key that is not there; memory:// stops at it
                self._delete_each(some)

    def _delete_each(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                with _errors(key):
                    obstore.delete(self._store, key)
            except Missing:
                continue

    def list(self, prefix: str) -> Iterator[str]:
        for entry in self.scan(prefix):
            yield entry.key

    def scan(self, prefix: str) -> Iterator[Entry]:
        check_key(prefix.rstrip("/"))
        with _errors(prefix):
            for page in obstore.list(self._store, prefix=prefix):
                for found in page:
                    yield Entry(str(found["path"]), int(found["size"]), found["last_modified"].timestamp())

    def delete_prefix(self, prefix: str) -> int:
        keys = list(self.list(prefix))
        self.delete(keys)
        return len(keys)


@contextmanager
def _errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:  # obstore's own NotFoundError is one
        raise Missing(key) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(f"object {key!r}: {type(error).__name__}: {error}") from error
