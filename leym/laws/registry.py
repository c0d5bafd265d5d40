"""Finds laws in folders of bundles, by name or by name and digest. Torch-free.

`leym.laws.versions` describes the layout of such a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from leym.contract.identity import DEFAULT
from leym.contract.problems import Problem
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.versions import law_folders, newest_digest, version_folders
from leym.settings import settings

log = logging.getLogger(__name__)

# A symbolic link to `laws/` at the top of the repository, so that the wheel holds these laws as package data.
SHIPPED = Path(__file__).parent / "shipped"


class Registry:
    """The laws in some folders; for the same name, a later folder takes precedence over an earlier one.

    Every call lists the folders again, but reads only the bundles that have changed. A law is in the folder of its
    name, unless somebody copied a bundle into a folder of another name by hand.
    """

    def __init__(self, *folders: Path):
        self.folders = folders

    def bundles(self) -> list[Bundle]:
        """Return the newest version of every readable law, sorted by name."""
        return [versions[0] for versions in self.versions().values()]

    def find(self, reference: str) -> list[Bundle]:
        """Return every version that `name`, `name@digest` or `name@beginning-of-digest` refers to, newest first."""
        name, _, digest = reference.partition("@")
        return [bundle for bundle in self.versions().get(name, ()) if bundle.digest.startswith(digest)]

    def resolve(self, reference: str) -> Bundle:
        """Return the newest version of `name`, or the version `name@digest` (at least 8 digits of the digest).

        Versions in the folder of the name go before others: every job asks, and need not list all laws then.

        Raises:
            Problem: 422, if there is none.
        """
        name, _, digest = reference.partition("@")
        for folder in reversed(self.folders):
            for bundle in self._in(folder, [folder / name]).get(name, ()):
                if bundle.digest.startswith(digest):
                    return bundle
        for bundle in self.find(reference):
            return bundle
        known = ", ".join(b.name for b in self.bundles()) or "none"
        detail = f"law: there is no law {reference!r}; known: {known}"
        raise Problem(422, "Unknown law", detail, errors=[{"pointer": "/law", "detail": detail}])

    def versions(self) -> dict[str, list[Bundle]]:
        """Return every readable version of every law: name -> versions, newest first."""
        found: dict[str, list[Bundle]] = {}
        for folder in self.folders:
            for name, bundles in self._in(folder, law_folders(folder)).items():
                found[name] = bundles + found.get(name, [])
        return dict(sorted(found.items()))

    def _in(self, folder: Path, homes: Iterable[Path]) -> dict[str, list[Bundle]]:
        """Return every readable version in some folders of laws: name -> versions, newest first."""
        found: dict[str, list[Bundle]] = {}
        for place in (version for home in homes for version in version_folders(home)):
            try:
                bundle = _read_cached(place, _modified_ns(place))
            except Problem as problem:  # one broken bundle must not hide the other laws
                log.error("unreadable law skipped: %s", problem.detail)
                continue
            found.setdefault(bundle.name, []).append(bundle)
        return {name: _newest_first(folder / name, bundles) for name, bundles in found.items()}


def _newest_first(home: Path, bundles: list[Bundle]) -> list[Bundle]:
    """Sort versions by time of writing, latest first, but put the one that `newest` names at the front."""
    if len(bundles) == 1:
        return bundles
    digest = newest_digest(home)
    return sorted(bundles, key=lambda b: (b.digest == digest, max(_modified_ns(b.path), default=0)), reverse=True)


def project_registry(project: str, data: Path) -> Registry:
    """Return the registry of a project: the laws shipped with the service, and its own in the data folder."""
    return Registry(SHIPPED, project_laws_folder(project, data))


def project_laws_folder(project: str, data: Path) -> Path:
    """Return the folder of a project's own laws."""
    return (data if project == DEFAULT else data / "projects" / project) / "laws"


def default_registry() -> Registry:
    """Return the registry of the project `default` in the data folder of the settings."""
    return project_registry(DEFAULT, settings().data)


def _modified_ns(folder: Path) -> tuple[int, ...]:
    found = []
    for name in (MANIFEST, WEIGHTS):
        with suppress(FileNotFoundError):  # another process may remove it at any moment
            found.append((folder / name).stat().st_mtime_ns)
    return tuple(found)


@cache
def _read_cached(folder: Path, modified_ns: tuple[int, ...]) -> Bundle:
    return read_bundle(folder)
