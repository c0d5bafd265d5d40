"""Opening the object store that a URL names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from leym.frames.stores.base import Store
from leym.frames.stores.files import FileStore


def open_store(url: str) -> Store:
    """Open the store at file:///folder, s3://bucket/prefix or memory:// (for tests).

    S3 takes credentials, region and endpoint from AWS_* variables.

    Raises:
        ValueError: the URL has another scheme.
    """
    scheme = urlsplit(url).scheme
    if folder := folder_of(url):
        return FileStore(folder)
    if scheme in ("s3", "memory"):
        from leym.frames.stores.s3 import S3Store  # imports obstore, which a store of files does not need

        return S3Store(url)
    raise ValueError(f"store_url {url!r}: the scheme is {scheme or '(none)'!r}; known: file, s3, memory")


def folder_of(url: str) -> Path | None:
    """Return the folder of a store of files; None for other stores."""
    parts = urlsplit(url)
    return Path(os.fsdecode(unquote_to_bytes(parts.path))) if parts.scheme == "file" else None
