"""The laws that were added to a data folder: versions that never change, by several processes at once. Torch-free.

    <folder>/<name>/manifest.json, weights.safetensors        one version, as people copy it there by hand
    <folder>/<name>/<digest, 12 digits>/…                     further versions
    <folder>/<name>/newest                                    the digest that the bare name means

Whatever appears does so by a rename of something complete and synced. Folders that begin with a dot are unfinished.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from leym.common.files import atomic_file, sync
from leym.contract.problems import Problem, conflict
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle

NEWEST = "newest"
SHORT = 12  # digits of a digest in the name of a version's folder
TRIES = 3
LEFT_S = 86400.0  # no upload takes so long


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder to prepare a version in, on the same disk; what is left in it goes away."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in [*folder.glob(".work-*"), *folder.glob(".gone-*")]:  # by a process that was killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-", ignore_cleanup_errors=True) as work:
        yield Path(work)


def add_version(folder: Path, prepared: Path) -> tuple[Bundle, bool]:
    """Take the bundle that lies in `prepared` (its files are moved); the bare name means it from now on.

    Returns it as it now lies in `folder`, and whether it was not there before. Raises Problem 422 if it is unreadable.
    """
    law = read_bundle(prepared)
    home = folder / law.name
    there = next((b for b in versions(home) if b.ref == law.ref), None)
    added = False
    if there is None:
        place = home / law.digest[:SHORT]
        added = publish(prepared, place)
        there = read_bundle(place)
        if there.digest != law.digest:  # 48 equal bits of different laws, or somebody changed files by hand
            raise conflict(f"the folder of version {law.digest[:SHORT]} of {law.name!r} has another law: {there.ref}")
    _point(home, there.digest)
    return there, added


def add_copy(folder: Path, bundle: Path) -> tuple[Bundle, bool]:
    """Like `add_version`, of a bundle that stays where it is. The first version of a name lies in the plain layout.

    Whatever other files the folder holds come along (fidelity verdicts, notes).
    """
    law = read_bundle(bundle)
    with scratch(folder) as work:
        prepared = work / "law"
        shutil.copytree(bundle, prepared)
        if not (folder / law.name).exists() and publish(prepared, folder / law.name):
            return read_bundle(folder / law.name), True
        return add_version(folder, prepared)


def publish(prepared: Path, place: Path) -> bool:
    """Make the bundle in `prepared` appear at `place`, complete. False, and nothing happens, if something is there."""
    for name in (MANIFEST, WEIGHTS):
        sync(prepared / name)
    sync(prepared)
    for attempt in range(TRIES):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            return False
        try:
            prepared.rename(place)
        except OSError:
            if place.exists():  # another process was first
                return False
            if attempt == TRIES - 1:  # else another process has just removed the last version, and the folder with it
                raise
        else:
            break
    sync(place.parent)
    return True


def rename_law(prepared: Path, name: str) -> None:
    """Write another name into a manifest that nobody reads yet. The digest stays: the name is no part of it."""
    manifest = read_bundle(prepared).manifest
    if manifest.name != name:
        renamed = Manifest.model_validate(manifest.model_dump(exclude_defaults=True) | {"name": name})
        (prepared / MANIFEST).write_text(renamed.model_dump_json(indent=2, exclude_defaults=True) + "\n")


def places(folder: Path) -> Iterator[Path]:
    """Every folder that holds a manifest, of all laws."""
    for home in sorted(folder.glob("[!.]*")):
        yield from _places_of(home)


def _places_of(home: Path) -> Iterator[Path]:
    if (home / MANIFEST).exists():
        yield home
    for manifest in sorted(home.glob(f"[!.]*/{MANIFEST}")):
        yield manifest.parent


def newest_digest(home: Path) -> str:
    """What `newest` says; empty when it says nothing."""
    try:
        return (home / NEWEST).read_text().strip()
    except OSError:
        return ""


def versions(home: Path) -> Iterator[Bundle]:
    """Of the law whose folder this is, in no order."""
    for place in _places_of(home):
        with contextlib.suppress(Problem):  # one that cannot be read is in nobody's way
            yield read_bundle(place)


def remove(folder: Path, bundle: Bundle) -> None:
    """Take one version away. Its files leave in one rename, or the manifest first: nobody sees half of them."""
    home = bundle.path if bundle.path.parent == folder else bundle.path.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".gone-") as gone:
        with contextlib.suppress(FileNotFoundError):  # another process removed it at the same time
            if bundle.path != home:
                bundle.path.rename(Path(gone) / bundle.path.name)
            else:
                (home / MANIFEST).rename(Path(gone) / MANIFEST)
                (home / WEIGHTS).rename(Path(gone) / WEIGHTS)
    if newest_digest(home) == bundle.digest:
        (home / NEWEST).unlink(missing_ok=True)
    if not any(_places_of(home)):
        (home / NEWEST).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody keeps other files in it, or has just added a version
            home.rmdir()


def _point(home: Path, digest: str) -> None:
    if newest_digest(home) == digest:
        return
    with atomic_file(home / NEWEST, mode=0o644, durable=True) as file:
        file.write(f"{digest}\n".encode())
