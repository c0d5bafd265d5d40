"""Where things are, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
DATA = ROOT / "tests" / "data"
