"""Check the links inside a built site: `python docs/check_links.py docs/_build/html`.

Sphinx checks the links that it resolves; this also sees images, the theme's links, and every anchor of every page.
Exits with 1 and one line per dead link. Links to other sites are checked by `make linkcheck`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup


def dead_links(site: Path) -> list[str]:
    """Returns "page: link" for every link of the site whose file or anchor does not exist."""
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in site.rglob("*.html")}
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    dead = []
    for path, page in pages.items():
        for tag in page.find_all(lambda tag: tag.has_attr("href") or tag.has_attr("src")):
            link = tag.get("href") or tag.get("src") or ""
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            found = target.is_file()
            if found and parts.fragment and target in anchors:
                found = unquote(parts.fragment) in anchors[target]
            if not found:
                dead.append(f"{path.relative_to(site)}: {link}")
    return sorted(set(dead))


if __name__ == "__main__":
    found = dead_links(Path(sys.argv[1]).resolve())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
