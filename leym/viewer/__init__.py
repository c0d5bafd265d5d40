"""The viewer of universes in a browser: WebGL2 canvas, colour maps, clock, timeline and bar of colours.

static          modules and styles; the page serves them beside its own
widget.js       universes side by side on one clock, for notebooks and saved pages
widget.css      what page.css is for the page
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

_IMPORT = re.compile(r'^import \{ ([^}]+) \} from "([^"]+)";$', re.MULTILINE)
_DECLARED = re.compile(r"^export ((?:async function|const|function|class) (\w+))", re.MULTILINE)
_LISTED = re.compile(r"export ?\{([^}]+)\};")
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


@cache
def script() -> str:
    """Return the widget and all that it imports as one ES module, which exports what `widget.js` exports.

    anywidget takes one module, and a saved page has nobody to ask for another. Each imported module becomes the result
    of a function that is called once, so that two modules may use the same name.

    Raises:
        ValueError: a module imports or exports in another form than `import { a } from "./b.js";` and `export const`,
            `function`, `class` or `{ a as b };`.
    """
    joined: dict[Path, str] = {}
    main = _with_imports(FOLDER / "widget.js", joined)
    return "\n".join([*joined.values(), main])


@cache
def style() -> str:
    """Return the styles of the widget."""
    return "\n".join(path.read_text("utf-8") for path in (STATIC / "css" / "viewer.css", FOLDER / "widget.css"))


def _with_imports(path: Path, joined: dict[Path, str]) -> str:
    """Return a module whose imports are taken from the modules in `joined`, to which they are added first."""

    def taken(found: re.Match[str]) -> str:
        other = (path.parent / found[2]).resolve()
        if other not in joined:
            text = _wrapped(other, joined)
            joined[other] = f"const module{len(joined)} = {text};"
        return f"const {{ {found[1].replace(' as ', ': ')} }} = module{list(joined).index(other)};"

    return _IMPORT.sub(taken, path.read_text("utf-8"))


def _wrapped(path: Path, joined: dict[Path, str]) -> str:
    """Return a module as an expression, an object of its exports."""
    text = _with_imports(path, joined)
    exports = [found[2] for found in _DECLARED.finditer(text)]
    for found in _LISTED.finditer(text):
        pairs = (name.strip().split(" as ") for name in found[1].split(","))
        exports += [f"{pair[-1]}: {pair[0]}" for pair in pairs]
    text = _LISTED.sub("", _DECLARED.sub(r"\1", text))
    if other := _OTHER.search(text):
        raise ValueError(f"{path.name}: {other[0][:80]!r} cannot be joined")
    return f"(() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})()"
