"""Where the project and its fixed test data are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / "tests" / "oracle"
DATA = ROOT / "tests" / "data"
