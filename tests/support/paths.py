"""Paths of the project, of its fixed test data and of programs that some tests need."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / "tests" / "oracle"
CHROMIUM = shutil.which("chromium")
DATA = ROOT / "tests" / "data"
