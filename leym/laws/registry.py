"""Where laws are found: folders of bundles, by name, pinned by digest (layout: `leym.laws.versions`). Torch-free."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from pathlib import Path

from leym.contract.identity import DEFAULT
from leym.contract.problems import Problem
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.verdicts import cheapest_passing
from leym.laws.versions import newest_digest, places
from leym.settings import settings

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "laws"


class Registry:
    """The laws in some folders; a later folder wins over an earlier one for the same name.

    The folders are looked at anew by every call; only what has changed is read again.
    """

    def __init__(self, *folders: Path):
        self.folders = folders

    def bundles(self) -> list[Bundle]:
        """The newest version of every law that can be read, by name."""
        return [versions[0] for versions in self.versions().values()]

    def find(self, reference: str) -> list[Bundle]:
        """Every version that `name` or `name@digest` (or the beginning of a digest) means, newest first."""
        name, _, digest = reference.partition("@")
        return [bundle for bundle in self.versions().get(name, ()) if bundle.digest.startswith(digest)]

    def resolve(self, reference: str) -> Bundle:
        """The newest law called `name`, or any version by `name@digest` (a prefix of at least 8 hex digits).

        Raises Problem 422 when there is none.
        """
        for bundle in self.find(reference):
            return bundle
        known = ", ".join(b.name for b in self.bundles()) or "none"
        detail = f"law: there is no law {reference!r}; known: {known}"
        raise Problem(422, "Unknown law", detail, errors=[{"pointer": "/law", "detail": detail}])

    def versions(self) -> dict[str, list[Bundle]]:
        """Every version of every law, newest first, by name."""
        found: dict[str, list[Bundle]] = {}
        for folder in self.folders:
            here: dict[str, list[Bundle]] = {}
            for place in places(folder):
                try:
                    bundle = _cached(place, _stamp(place))
                except Problem as problem:  # one broken folder must not take the other laws away
                    log.error("a law is left out: %s", problem.detail)
                    continue
                here.setdefault(bundle.name, []).append(bundle)
            for name, bundles in here.items():
                found[name] = _newest_first(folder / name, bundles) + found.get(name, [])
        return dict(sorted(found.items()))


def _newest_first(home: Path, bundles: list[Bundle]) -> list[Bundle]:
    """The one that `newest` names; without it, by the time at which they were written."""
    if len(bundles) == 1:
        return bundles
    digest = newest_digest(home)
    return sorted(bundles, key=lambda b: (b.digest == digest, max(_stamp(b.path), default=0)), reverse=True)


def registry_of(project: str, data: Path) -> Registry:
    """The laws shipped with the service and those that a project has added to the data folder."""
    return Registry(SHIPPED, laws_of(project, data))


def laws_of(project: str, data: Path) -> Path:
    """The folder of the laws that a project has added."""
    return (data if project == DEFAULT else data / "projects" / project) / "laws"


def default_registry() -> Registry:
    """Of the project `default`, in the data folder of this process."""
    return registry_of(DEFAULT, settings().data)


def resolve_precision(bundle: Bundle, requested: str) -> str:
    """The precision a job runs at.

    "auto" is the cheapest with a passing fidelity verdict; a law without one runs as it is, in fp32.
    """
    return cheapest_passing(bundle) if requested == "auto" else requested


def _stamp(folder: Path) -> tuple[int, ...]:
    found = []
    for name in (MANIFEST, WEIGHTS):
        with suppress(FileNotFoundError):  # it may be taken away at any moment
            found.append((folder / name).stat().st_mtime_ns)
    return tuple(found)


@cache
def _cached(folder: Path, stamp: tuple[int, ...]) -> Bundle:
    return read_bundle(folder)
