"""The notebooks: they run against a service, and git has them without outputs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.paths import ROOT
from tests.support.service import Service

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_git_has_the_notebook_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert max(map(len, cell.source.splitlines())) <= 120


@pytest.mark.slow
def test_the_notebooks_run(service: Service, tmp_path: Path) -> None:
    """All of them at the same time, each in a kernel of its own, with a small law."""
    small = {"LEYM_URL": service.url, "LEYM_NOTEBOOK_LAW": "tiny", "LEYM_NOTEBOOK_STEPS": "40"}
    kept = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # notebooks have one of their own
    environment = kept | small | {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}

    async def run(path: Path) -> nbformat.NotebookNode:
        notebook = nbformat.read(path, 4)
        client = NotebookClient(
            notebook, timeout=480, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
        )
        return await client.async_execute(env=environment)

    async def all_of_them() -> list[nbformat.NotebookNode]:
        return await asyncio.gather(*map(run, NOTEBOOKS))

    done = dict(zip((path.stem for path in NOTEBOOKS), asyncio.run(all_of_them()), strict=True))
    assert len(done) == 4
    for name, notebook in done.items():
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        kinds = {kind for output in outputs if "data" in output for kind in output["data"]}
        assert "application/vnd.jupyter.widget-view+json" in kinds, name
        assert "image/png" in kinds, name
        assert not [output for output in outputs if output.output_type == "error"]
