"""Adds and removes versions of laws in a folder that several processes share. A version never changes. Torch-free.

    <folder>/<name>/manifest.json, weights.safetensors        one version, as people copy it there by hand
    <folder>/<name>/<12 digits of the digest>/…               further versions
    <folder>/<name>/newest                                    the digest that the bare name refers to

A version is prepared in a folder whose name begins with a dot, synced to disk, and then renamed into place, so readers
never see an incomplete one.
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
FOLDER_DIGITS = 12  # digits of the digest in the name of a version's folder
RENAME_ATTEMPTS = 3
ABANDONED_S = 86400.0  # age at which an unfinished folder is taken for abandoned; no upload takes so long


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Make a temporary folder inside `folder` to prepare a version in; on the same disk, so that a rename publishes it.

    Also removes the temporary folders of processes that were killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in [*folder.glob(".work-*"), *folder.glob(".gone-*")]:
        with contextlib.suppress(OSError):
            if time.time() - unfinished.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-", ignore_cleanup_errors=True) as work:
        yield Path(work)


def add_version(folder: Path, prepared: Path) -> tuple[Bundle, bool]:
    """Move the bundle in `prepared` into `folder`, and make the bare name refer to it.

    Returns:
        The bundle in `folder`, and whether it is new there.

    Raises:
        Problem: 422, if the bundle is unreadable; 409, if the folder of its version holds another law.
    """
    law = read_bundle(prepared)
    home = folder / law.name
    stored = next((b for b in read_versions(home) if b.ref == law.ref), None)
    added = False
    if stored is None:
        place = home / law.digest[:FOLDER_DIGITS]
        added = publish(prepared, place)
        stored = read_bundle(place)
        if stored.digest != law.digest:  # two digests share 48 bits, or the files were changed by hand
            short = law.digest[:FOLDER_DIGITS]
            raise conflict(f"the folder of version {short} of {law.name!r} holds another law: {stored.ref}")
    _set_newest(home, stored.digest)
    return stored, added


def add_copy(folder: Path, bundle: Path) -> tuple[Bundle, bool]:
    """Copy a bundle into `folder`, with all other files of its folder (fidelity verdicts, notes).

    The first version of a name goes to `<name>/`, as if copied by hand; further ones are added like `add_version`.

    Returns:
        The bundle in `folder`, and whether it is new there.
    """
    law = read_bundle(bundle)
    with staging_folder(folder) as work:
        prepared = work / "law"
        shutil.copytree(bundle, prepared)
        if not (folder / law.name).exists() and publish(prepared, folder / law.name):
            return read_bundle(folder / law.name), True
        return add_version(folder, prepared)


def publish(prepared: Path, place: Path) -> bool:
    """Sync the bundle in `prepared` to disk and rename it to `place`.

    Returns:
        False if `place` exists already; nothing changes then.
    """
    for name in (MANIFEST, WEIGHTS):
        sync(prepared / name)
    sync(prepared)
    for attempt in range(RENAME_ATTEMPTS):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            return False
        try:
            prepared.rename(place)
        except OSError:
            if place.exists():  # another process published it first
                return False
            # Another process may have just removed the last version and the parent folder with it: try again.
            if attempt == RENAME_ATTEMPTS - 1:
                raise
        else:
            break
    sync(place.parent)
    return True


def rename_law(prepared: Path, name: str) -> None:
    """Change the name in the manifest of an unpublished bundle. The digest does not cover the name, so it stays."""
    manifest = read_bundle(prepared).manifest
    if manifest.name != name:
        renamed = Manifest.model_validate(manifest.model_dump(exclude_defaults=True) | {"name": name})
        (prepared / MANIFEST).write_text(renamed.model_dump_json(indent=2, exclude_defaults=True) + "\n")


def law_folders(folder: Path) -> list[Path]:
    """Return the folders of the laws in `folder`, sorted by name."""
    return sorted(folder.glob("[!.]*"))


def version_folders(home: Path) -> Iterator[Path]:
    """Yield the folder of every version in the folder of one law."""
    if (home / MANIFEST).exists():
        yield home
    for manifest in sorted(home.glob(f"[!.]*/{MANIFEST}")):
        yield manifest.parent


def newest_digest(home: Path) -> str:
    """Read the digest that a bare name refers to; empty if none was recorded."""
    try:
        return (home / NEWEST).read_text().strip()
    except OSError:
        return ""


def read_versions(home: Path) -> Iterator[Bundle]:
    """Yield the readable versions in the folder of one law, in no particular order."""
    for place in version_folders(home):
        with contextlib.suppress(Problem):  # an unreadable version must not hide the others
            yield read_bundle(place)


def remove_version(folder: Path, bundle: Bundle) -> None:
    """Remove one version from `folder`.

    Its folder goes in one rename. In the plain layout the manifest goes first: a folder without one is no version.
    """
    home = bundle.path if bundle.path.parent == folder else bundle.path.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".gone-") as gone:
        with contextlib.suppress(FileNotFoundError):  # another process removes it at the same time
            if bundle.path != home:
                bundle.path.rename(Path(gone) / bundle.path.name)
            else:
                (home / MANIFEST).rename(Path(gone) / MANIFEST)
                (home / WEIGHTS).rename(Path(gone) / WEIGHTS)
    if newest_digest(home) == bundle.digest:
        (home / NEWEST).unlink(missing_ok=True)
    if not any(version_folders(home)):
        (home / NEWEST).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: other files, or a version added just now
            home.rmdir()


def _set_newest(home: Path, digest: str) -> None:
    if newest_digest(home) == digest:
        return
    with atomic_file(home / NEWEST, mode=0o644, durable=True) as file:
        file.write(f"{digest}\n".encode())
