"""Object store in a folder, which several processes of a machine may share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from leym.common.files import atomic_file, sync
from leym.frames.stores.base import Entry, Missing, check_key


class FileStore:
    """Stores each object as a file. `put` syncs the file, its name and new folders, so they survive a power cut."""

    def __init__(self, root: Path):
        self.root = root.absolute()
        _make_folder(self.root)

    def put(self, key: str, *parts: bytes) -> None:
        """See `Store.put`."""
        path = self._path(key)
        _make_folder(path.parent)
        with atomic_file(path, mode=0o644, durable=True) as file:  # the API may run as another user than the writer
            file.writelines(parts)

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Missing(key) from error

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `Store.get_range`."""
        try:
            with open(self._path(key), "rb") as file:
                file.seek(start)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Missing(key) from error

    def head(self, key: str) -> int | None:
        """See `Store.head`."""
        path = self._path(key)
        try:
            return path.stat().st_size if path.is_file() else None
        except FileNotFoundError:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        for key in keys:
            try:
                self._path(key).unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`."""
        folder = self._path(prefix.rstrip("/"))
        for parent, _, names in os.walk(folder):
            for name in names:
                if not name.startswith("."):
                    yield Path(parent, name).relative_to(self.root).as_posix()

    def scan(self, prefix: str) -> Iterator[Entry]:
        """See `Store.scan`."""
        for key in self.list(prefix):
            try:
                found = (self.root / key).stat()
            except FileNotFoundError:  # deleted since the folder was read
                continue
            yield Entry(key, found.st_size, found.st_mtime)

    def delete_prefix(self, prefix: str) -> int:
        """See `Store.delete_prefix`."""
        folder = self._path(prefix.rstrip("/"))
        removed = 0
        for parent, _, names in os.walk(folder, topdown=False):
            for name in names:
                Path(parent, name).unlink(missing_ok=True)
                removed += not name.startswith(".")
            try:
                os.rmdir(parent)
            except OSError:  # another process has written into it
                continue
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, and sync their names."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
