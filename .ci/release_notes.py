"""Print the changelog's section of a version: `python .ci/release_notes.py v1.2.3`.

Exits with 1 when the version is not the one of the package, or when the changelog says nothing about it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def section(changelog: str, version: str) -> str | None:
    """Return the text between the heading of `version` and the next version's, or None when there is none."""
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() or None if found else None


def notes(tag: str) -> str:
    """Return the release notes of a tag, as Markdown.

    Raises:
        ValueError: the tag is not `v` and the package's version, or the changelog has no section of it.
    """
    source = (ROOT / "leym" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]
    if tag != f"v{version}":
        raise ValueError(f"tag {tag}: leym.__version__ is {version}, so the tag must be v{version}")
    text = section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if text is None:
        raise ValueError(f"tag {tag}: CHANGELOG.md has no section, or an empty one, under '## [{version}]'")
    return text


def main() -> None:
    """Print the notes of the tag given on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: release_notes.py TAG")
    try:
        print(notes(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"release_notes: {error}")


if __name__ == "__main__":
    main()
