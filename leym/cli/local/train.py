"""`leym train recipe.toml`: train a law by a recipe."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated

import typer

from leym.cli.output import FAILED, INTERRUPTED, USAGE, note
from leym.client.progress import Amount, Bars
from leym.contract.problems import Problem
from leym.engine.device import pick_device
from leym.laws import versions
from leym.settings import settings
from leym.training import checkpoint
from leym.training.curve import tensorboard_installed
from leym.training.output import LAW
from leym.training.recipe import Recipe, read_recipe
from leym.training.trainer import Diverged, train

app = typer.Typer(add_completion=False)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="TOML file: what to train, towards what, and how")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for law, curve and checkpoint; default: NAME-training")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the checkpoint in the folder")] = False,
    add: Annotated[bool, typer.Option("--add", help="add the law to the data folder, as `leym laws add` does")] = False,
    updates: Annotated[int | None, typer.Option(min=1, help="optimiser steps, in place of the recipe's")] = None,
    data: Annotated[Path | None, typer.Option(help="data folder for --add; default: LEYM_DATA")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Train a law by a recipe. The last line on stdout is its folder, or NAME@DIGEST with --add, or --json's document.

    Exit codes: 0 done, 1 the training diverged, 2 refused, 130 interrupted.
    """
    logging.basicConfig(level=logging.WARNING)
    try:
        read = read_recipe(recipe, **({} if updates is None else {"updates": updates}))
        folder = out or Path(f"{read.name}-training")
        if not resume and (folder / checkpoint.FILE).exists() and not (folder / LAW).exists():
            raise ValueError(
                f"{folder} holds a training that has not ended: --resume continues it, --out names another"
            )
        if not tensorboard_installed():
            note("TensorBoard is not installed, so no events are written: pip install 'leym[train]'")
        with Bars() as bars:
            law = train(read, folder, resume=resume, device=pick_device().torch, on_update=_Reporter(read, bars))
        if add:
            law, _ = versions.add_copy((data or settings().data) / "laws", law.path)
    except Diverged as error:
        note(f"leym train: {error}")
        raise typer.Exit(FAILED) from error
    except (Problem, ValueError, OSError) as error:
        note(f"leym train: {error}")
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt as error:
        note("leym train: interrupted; --resume continues from the last checkpoint")
        raise typer.Exit(INTERRUPTED) from error
    if as_json:
        print(json.dumps({"law": law.ref, "path": str(law.path), "last": law.manifest.provenance["last"]}))
    else:
        print(law.ref if add else law.path)


class _Reporter:
    """Shows the progress of a training on a bar, with its loss and its speed."""

    def __init__(self, recipe: Recipe, bars: Bars) -> None:
        self._name, self._updates, self._bars = recipe.name, recipe.train.updates, bars
        self._first: tuple[int, float] | None = None

    def __call__(self, number: int, values: dict[str, float]) -> None:
        now = time.monotonic()
        self._first = self._first or (number, now)
        begun, at = self._first
        speed = f", {(number - begun) / (now - at):.1f} updates/s" if number > begun else ""
        text = f"loss {values['loss']:.4g}{speed}"
        # a bar shows what changes as its state; elsewhere a line for every new state would be too many
        if self._bars.console.is_terminal:
            self._bars.show(Amount(self._name, text, number, self._updates))
        else:
            self._bars.show(Amount(self._name, "running", number, self._updates), f"{self._name} {text}")
