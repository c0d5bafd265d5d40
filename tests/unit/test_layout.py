"""The layout of the tests: the unit tests mirror the source, and helpers are shared through tests/support only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.longest import LONGEST as LONGEST_TO_RUN
from tests.support.paths import ROOT

TESTS = ROOT / "tests"
OF_OTHERS = ("clients", "data")  # files of other programs, and of earlier versions of this one
MODULES = sorted(path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).parts[0] not in OF_OTHERS)
FOLDERS = sorted({path.parent.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("test_*.py")})
LONGEST = 350  # lines


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_folder_of_unit_tests_is_named_after_a_package(folder: Path) -> None:
    packages = [ROOT / "leym" / folder, *([ROOT / folder] if folder.parts[:1] in (("app",), ("workers",)) else [])]
    assert any((package / "__init__.py").is_file() for package in packages), f"no leym/{folder}, no {folder}"


def test_no_test_imports_from_a_module_of_tests() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                assert not any(".test_" in name for name in names), f"{path}:{node.lineno}"
                assert node.module != "tests.conftest", f"{path}:{node.lineno}"


def test_no_module_of_the_tests_is_long() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in MODULES}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_the_files_that_begin_first_exist() -> None:
    assert [name for name in LONGEST_TO_RUN if not (TESTS / name).is_file()] == []
