"""CompileCache: shares compiled code through the store, so that a worker on a new machine need not compile it again.

Off unless LEYM_SHIP_COMPILED is set, since workers run this code: whoever may write to the store may then run code in
every worker.

    compiled/<kind>/<sha256>.tar.gz       all compiled files of a kind of machine; readers merge several archives
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

UPLOAD_PERIOD_S = 20.0
MAX_BYTES = 512 * 2**20  # of an archive


def local_folder() -> Path | None:
    """Return the folder in which Inductor and the fused kernels keep compiled code; None if none is configured."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(chosen) if chosen else None


def machine_kind(device: str) -> str:
    """Return a name shared by machines that can run each other's compiled code.

    It is a hash of device, instruction sets, Python, torch and C library.
    """
    instructions = sorted(name for name, has in torch.cpu.get_capabilities().items() if has)
    facts = (device, platform.machine(), *map(str, instructions), sys.version, torch.__version__, *platform.libc_ver())
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:24]


class CompileCache:
    """The compiled code of one worker and its copy in the store.

    Call `download` before anything is compiled; the thread then uploads new files every UPLOAD_PERIOD_S.
    """

    def __init__(self, store: Store, folder: Path, kind: str):
        self.store, self.folder, self.prefix = store, folder, f"compiled/{kind}/"
        self._stored: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compile-cache", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread without waiting for it; files that were compiled last may not be uploaded."""
        self._stopped.set()

    def download(self) -> int:
        """Unpack the files that workers of this kind have uploaded; return how many were missing here.

        Raises:
            OSError: The store does not answer.
        """
        new = 0
        for key in self.store.list(self.prefix):
            try:
                data = self.store.get(key)
            except Missing:
                continue  # another worker has just replaced it with a larger archive
            if Path(key).name != f"{hashlib.sha256(data).hexdigest()}.tar.gz":
                log.error("%s is skipped: its name is not the digest of its bytes", key)
                continue
            try:
                new += _unpack(data, self.folder)
            except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
                log.error("%s cannot be unpacked: %s", key, error)
        self._stored = _files(self.folder)
        return new

    def upload(self) -> bool:
        """Store all files, merged with those of other workers, if any is new; return whether that was done.

        Raises:
            OSError: The store does not answer.
        """
        if _files(self.folder) <= self._stored:
            return False
        old = list(self.store.list(self.prefix))
        self.download()
        data = _pack(self.folder)
        if len(data) > MAX_BYTES:
            log.warning("the compiled files take %d bytes, over %d: not uploaded", len(data), MAX_BYTES)
            return False
        key = f"{self.prefix}{hashlib.sha256(data).hexdigest()}.tar.gz"
        self.store.put(key, data)
        self.store.delete([other for other in old if other != key])
        return True

    def _run(self) -> None:
        while not self._stopped.wait(UPLOAD_PERIOD_S):
            try:
                if self.upload():
                    log.info("compiled files were uploaded")
            except OSError as error:
                log.warning("compiled files are not uploaded: %s", error)


def _files(folder: Path) -> set[str]:
    """Return the names of finished files: no temporary files, lock files or links."""
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
                log.debug("%s was removed meanwhile", name)
    return buffer.getvalue()


def _unpack(data: bytes, folder: Path) -> int:
    """Unpack the files that `folder` lacks, each whole or not at all, and return their number.

    Raises:
        tarfile.TarError: A member is not a plain file below the folder. Checked here, because Python before 3.11.4
            (Debian 12 has 3.11.2) has no extraction filters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            source = archive.extractfile(member) if member.isfile() else None
            if source is None or path.is_absolute() or ".." in path.parts:
                raise tarfile.TarError(f"{member.name!r} is not a file below the folder")
            target = folder / path
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                file.write(source.read())
            new += 1
    return new
