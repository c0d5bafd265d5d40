"""The widget as one module, and the colours that it has."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from leym import viewer
from leym.frames.colormaps import NAMES, colours


def joined(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> str:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    monkeypatch.setattr(viewer, "FOLDER", folder)
    return viewer.script.__wrapped__()


def test_the_widget_is_one_module_that_imports_nothing_and_exports_the_same() -> None:
    text = viewer.script()
    assert not re.search(r"^\s*import\b|\bfrom ['\"]|\bimport\(", text, re.MULTILINE)
    exports = re.findall(r"^export .*", text, re.MULTILINE)
    assert exports == re.findall(r"^export .*", (viewer.FOLDER / "widget.js").read_text(), re.MULTILINE)


def test_a_module_that_two_others_import_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = joined(
        tmp_path,
        monkeypatch,
        widget='import { a as x } from "./a.js";\nimport { c } from "./c.js";\nexport default { x, c };\n',
        a='import { c } from "./c.js";\nexport const a = c + 1;\n',
        c="const one = 1;\nexport { one as c };\n",
    )
    assert text.count("const one = 1;") == 1
    assert text.index("const one") < text.index("const a =")
    assert "const { a: x } = module1;" in text


@pytest.mark.parametrize("form", ["export default 3;", 'import * as b from "./b.js";', 'export * from "./b.js";'])
def test_another_form_of_import_or_export_is_refused(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"a\.js: .* cannot be joined"):
        joined(tmp_path, monkeypatch, widget='import { a } from "./a.js";\n', a=f"{form}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_browser_has_the_colours_of_pictures(name: str) -> None:
    text = (viewer.STATIC / "js" / "colormaps.js").read_text()
    (found,) = re.findall(rf'^  {name}: "([^"]+)"', text, re.MULTILINE)
    table = np.frombuffer(base64.b64decode(found), np.uint8).reshape(256, 3)
    np.testing.assert_array_equal(table, colours(name))
