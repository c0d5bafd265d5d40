"""Known vulnerabilities in the pinned dependencies, as OSV has them: `make audit`.

Ends with 0 when there are none, 1 when there are some, and 2 when nothing can be said, which is never passed off as
"none".
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
TOOL = HERE.parent / ".venv" / "audit"
TIMEOUT_S = 600
CLEAN, FOUND, UNKNOWN = 0, 1, 2

UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|NewConnectionError|ProxyError|Could not connect"
    r"|Max retries exceeded|No matching distribution"
)


def decide(stdout: str, stderr: str) -> tuple[int, str]:
    """The exit code and what to say, of pip-audit's report and of what else it said."""
    try:
        dependencies = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        if UNREACHABLE.search(stderr):
            return UNKNOWN, f"not checked: the advisories cannot be reached: {last}"
        return UNKNOWN, f"not checked: pip-audit failed: {last}"
    lines = [
        f"{found['name']} {found['version']}: {flaw['id']}, repaired in {' '.join(flaw['fix_versions']) or 'none'}"
        for found in dependencies
        for flaw in found.get("vulns", ())
    ]
    skipped = [found["name"] for found in dependencies if "skip_reason" in found]
    if skipped or not dependencies:
        lines.append(f"not checked: {len(skipped)} of {len(dependencies)} packages are not known to it: {skipped[:5]}")
    if any(found.get("vulns") for found in dependencies):
        return FOUND, "\n".join(lines)
    if lines:
        return UNKNOWN, "\n".join(lines)
    return CLEAN, f"{len(dependencies)} packages: no known vulnerability"


def run() -> tuple[str, str]:
    """pip-audit's two outputs; of the pins as they stand, so that nothing is resolved or installed for it."""
    python = TOOL / "bin" / "python"
    if not python.exists():
        venv.create(TOOL, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "audit.txt"]
    pins = ["--requirement", HERE.parent / "constraints.txt", "--no-deps", "--disable-pip"]
    audit = [python, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json", *pins]
    for command in (install, audit):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode and not done.stdout:
            break
    return done.stdout, done.stderr


def main() -> None:
    try:
        stdout, stderr = run()
    except subprocess.TimeoutExpired as error:
        stdout, stderr = "", f"ReadTimeout after {error.timeout} s"
    code, said = decide(stdout, stderr)
    print(f"audit: {said}")
    sys.exit(code)


if __name__ == "__main__":
    main()
