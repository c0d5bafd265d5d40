"""What was compiled, shipped through the store: a worker on a new machine finds what one of its kind has compiled.

Off unless LEYM_SHIP_COMPILED is set, since it is code that other workers run: whoever may write to the store may then
run code in every worker.

    compiled/<kind>/<sha256>.tar.gz       all of it; several of a kind are merged by whoever reads them
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import platform
import sys
import tarfile
import threading
import zlib
from pathlib import Path, PurePosixPath

import torch

from leym.common.files import atomic_file
from leym.frames.stores.base import Missing, Store

log = logging.getLogger(__name__)

LOOK_S = 20.0
MOST_BYTES = 512 * 2**20


def folder() -> Path | None:
    """Where Inductor and the fused kernels keep what they have compiled; None: nowhere that lasts."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(chosen) if chosen else None


def kind(device: str) -> str:
    """Of machines that can run each other's code: device, instruction set, Python, torch, C library."""
    instructions = sorted(name for name, has in torch.cpu.get_capabilities().items() if has)
    facts = (device, platform.machine(), *map(str, instructions), sys.version, torch.__version__, *platform.libc_ver())
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:24]


class Shipping:
    """Of one worker. `fetch` before anything is compiled; then a thread that looks for news now and then."""

    def __init__(self, store: Store, folder: Path, kind: str):
        self.store, self.folder, self.prefix = store, folder, f"compiled/{kind}/"
        self._known: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns at once; what was compiled last may not be shipped."""
        self._stopped.set()

    def fetch(self) -> int:
        """Unpack what others of this kind have compiled; returns how many files are new here. Raises OSError."""
        new = 0
        for key in self.store.list(self.prefix):
            try:
                data = self.store.get(key)
            except Missing:
                continue  # its writer has put a larger one there
            if Path(key).name != f"{hashlib.sha256(data).hexdigest()}.tar.gz":
                log.error("%s is not what its name says: left alone", key)
                continue
            try:
                new += _unpack(data, self.folder)
            except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
                log.error("%s cannot be unpacked: %s", key, error)
        self._known = _files(self.folder)
        return new

    def push(self) -> bool:
        """Ship what is here if any of it is new, with what others have shipped meanwhile. Raises OSError."""
        if _files(self.folder) <= self._known:
            return False
        old = list(self.store.list(self.prefix))
        self.fetch()
        data = _pack(self.folder)
        if len(data) > MOST_BYTES:
            log.warning("what is compiled takes %d bytes: not shipped", len(data))
            return False
        key = f"{self.prefix}{hashlib.sha256(data).hexdigest()}.tar.gz"
        self.store.put(key, data)
        self.store.delete([other for other in old if other != key])
        return True

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                if self.push():
                    log.info("shipped what was compiled here")
            except OSError as error:
                log.warning("what was compiled is not shipped: %s", error)


def _files(folder: Path) -> set[str]:
    """Finished ones: what is being written ends in .tmp or stands in a folder of locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = (path.relative_to(folder).as_posix() for path in found)
    return {name for name in names if not name.endswith((".tmp", ".lock")) and not name.startswith("locks/")}


def _pack(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name in sorted(_files(folder)):
            try:
                archive.add(folder / name, name, recursive=False)
            except FileNotFoundError:
                log.debug("%s has gone meanwhile", name)
    return buffer.getvalue()


def _unpack(data: bytes, folder: Path) -> int:
    """Unpack the files that `folder` lacks, each whole or not at all, and return their number.

    Raises:
        tarfile.TarError: a member is no plain file below the folder. Checked here, because Python before 3.11.4 (Debian
            12 has 3.11.2) has no extraction filters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            source = archive.extractfile(member) if member.isfile() else None
            if source is None or path.is_absolute() or ".." in path.parts:
                raise tarfile.TarError(f"{member.name!r} is no file below the folder")
            target = folder / path
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                file.write(source.read())
            new += 1
    return new
