"""The feature table in docs/comparison.md says only what a test or a document shows."""

from __future__ import annotations

import ast
import re

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "comparison.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
LINK = re.compile(r"\[[^\]]+\]\(([\w-]+\.md)\)")


def rows() -> list[list[str]]:
    """The cells of the feature table, one list per row."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| | Ley M |"))
    end = next(number for number, line in enumerate(lines) if number > start and not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : end]]


def test_every_claim_of_ours_has_a_test_or_a_document() -> None:
    claims = {name: ours for name, ours, *_ in rows()}
    assert len(claims) > 20
    for name, ours in claims.items():
        assert ours[0] in "●◐○", name
        if ours[0] != "●":
            continue
        tests, documents = TEST.findall(ours), LINK.findall(ours)
        assert tests or documents, f"{name}: nothing shows it"
        for document in documents:
            assert (ROOT / "docs" / document).is_file(), f"{name}: there is no docs/{document}"
        for file, function in tests:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert not function or function in names, f"{name}: {file} has no {function}"


def test_all_rows_speak_of_the_same_tools() -> None:
    assert {len(row) for row in rows()} == {9}
