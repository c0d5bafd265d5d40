"""Where laws are found: folders of bundles, named by folder, pinned by digest. Torch-free."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.problems import Problem
from leym.settings import settings

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "laws"


class Registry:
    """The laws in some folders; a later folder wins over an earlier one for the same name."""

    def __init__(self, *folders: Path):
        self.folders = folders

    def bundles(self) -> list[Bundle]:
        """Every law that can be read, by name."""
        found: dict[str, Bundle] = {}
        for folder in self.folders:
            for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
                try:
                    bundle = _cached(manifest.parent, _stamp(manifest.parent))
                except Problem as problem:  # one broken folder must not take the other laws away
                    log.error("a law is left out: %s", problem.detail)
                    continue
                found[bundle.name] = bundle
        return sorted(found.values(), key=lambda bundle: bundle.name)

    def resolve(self, reference: str) -> Bundle:
        """The law called `name` or `name@digest` (a prefix of at least 8 hex digits).

        Raises Problem 422 when there is none.
        """
        name, _, digest = reference.partition("@")
        bundles = self.bundles()
        for bundle in bundles:
            if bundle.name == name and bundle.digest.startswith(digest):
                return bundle
        known = ", ".join(b.name for b in bundles) or "none"
        detail = f"law: there is no law {reference!r}; known: {known}"
        raise Problem(422, "Unknown law", detail, errors=[{"pointer": "/law", "detail": detail}])


def default_registry() -> Registry:
    """The laws shipped with the project and those added to the data folder."""
    return Registry(SHIPPED, settings().data / "laws")


def resolve_precision(bundle: Bundle, requested: str) -> str:
    """The precision a job runs at.

    "auto" is the cheapest with a passing fidelity verdict; a law without one runs as it is, in fp32.
    """
    return "fp32" if requested == "auto" else requested


def _stamp(folder: Path) -> tuple[int, ...]:
    files = [folder / MANIFEST, folder / WEIGHTS]
    return tuple(f.stat().st_mtime_ns for f in files if f.exists())


@cache
def _cached(folder: Path, stamp: tuple[int, ...]) -> Bundle:
    return read_bundle(folder)
