"""What `make audit` says of recorded outputs of pip-audit: findings fail, and "not checked" is never "none"."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOUND = {"name": "flask", "version": "3.1.3", "vulns": []}
FLAW = {
    "id": "PYSEC-2019-217",
    "fix_versions": ["2.10.1"],
    "aliases": ["CVE-2019-10906"],
    "description": "In Pallets Jinja before 2.10.1, str.format_map allows a sandbox escape.",
}
FLAWED = {"name": "jinja2", "version": "2.4.1", "vulns": [FLAW]}
UNREPAIRED = {"name": "x", "version": "1", "vulns": [FLAW | {"fix_versions": []}]}
UNKNOWN = {"name": "y", "skip_reason": "Dependency not found on PyPI and could not be audited: y (1)"}


def report(*dependencies) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


NO_NETWORK = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443): Max retries exceeded with"
    " url: /v1/query (Caused by NameResolutionError(\"Failed to resolve 'api.osv.dev' ([Errno -2] Name or service not"
    ' known)"))'
)
NO_TOOL = "ERROR: Could not find a version\nERROR: No matching distribution found for pip-audit==2.10.1"
RETRYING = (
    "WARNING: Retrying after connection broken by 'NewConnectionError(': Failed to establish a new connection')'\n"
)


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "says"),
    [
        (report(SOUND), "WARNING: anything", 0, "1 packages: no known vulnerability"),
        (report(SOUND, FLAWED), "Found 1", 1, "jinja2 2.4.1: PYSEC-2019-217, repaired in 2.10.1"),
        (report(UNREPAIRED), "", 1, "repaired in none"),
        (report(FLAWED, UNKNOWN), "", 1, "not checked: 1 of 2 packages"),
        (report(SOUND, UNKNOWN), "No known vulnerabilities found", 2, "not checked: 1 of 2 packages"),
        (report(), "No known vulnerabilities found", 2, "not checked: 0 of 0"),
        ("", "Traceback …\n" + NO_NETWORK, 2, "not checked: the advisories cannot be reached: requests.exc"),
        ("", RETRYING + NO_TOOL, 2, "not checked: the advisories cannot be reached: ERROR: No matching"),
        ("", NO_TOOL, 2, "not checked: the advisories cannot be reached: ERROR: No matching"),
        ("", "ReadTimeout after 600 s", 2, "not checked: the advisories cannot be reached: ReadTimeout"),
        ("", "usage: pip-audit: error: unrecognized arguments", 2, "not checked: pip-audit failed: usage"),
        ("", "", 2, "not checked: pip-audit failed: it said nothing"),
        ("{}", "", 2, "not checked: pip-audit failed"),
    ],
)
def test_the_decision(stdout, stderr, code, says, audit):
    found, said = audit.decide(stdout, stderr)
    assert found == code
    assert says in said
    assert ("no known vulnerability" in said) == (says == "1 packages: no known vulnerability")


def test_the_tool_is_pinned():
    lines = (ROOT / ".ci" / "audit.txt").read_text().splitlines()[1:]
    assert any(line.startswith("pip-audit==") for line in lines)
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][a-z0-9.]*", line) for line in lines)
