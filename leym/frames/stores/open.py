"""Opens the store that a URL names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from leym.frames.stores.base import Store
from leym.frames.stores.files import FileStore


def open_store(url: str) -> Store:
    """The store at file:///folder, s3://bucket/prefix (credentials and endpoint from AWS_* variables) or memory://."""
    scheme = urlsplit(url).scheme
    if folder := folder_of(url):
        return FileStore(folder)
    if scheme in ("s3", "memory"):
        from leym.frames.stores.s3 import BucketStore  # obstore, only where it is used

        return BucketStore(url)
    raise ValueError(f"store_url {url!r}: the scheme is {scheme or '(none)'!r}; known: file, s3, memory")


def folder_of(url: str) -> Path | None:
    """Where a store of files has them; None for other stores."""
    parts = urlsplit(url)
    return Path(os.fsdecode(unquote_to_bytes(parts.path))) if parts.scheme == "file" else None
