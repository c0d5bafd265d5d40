"""Writes the asynchronous classes of the SDK from the synchronous ones; `--check` only compares.

    python .ci/async_client.py

Each public method becomes a coroutine with the same arguments that runs the method in a thread. An iterator becomes an
asynchronous iterator, and jobs and sweeps become asynchronous ones.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).resolve().parents[1] / "leym" / "client"
CLASSES = {
    "client": ("Client", ("connection", "submissions", "sweep_submissions", "training", "activity", "client")),
    "job": ("Job", ("lineage", "job_results", "keeping", "job")),
    "sweep": ("Sweep", ("sweep_results", "keeping", "sweep")),
}
OWN = {"as_dict", "check", "field_names", "wait", "close", "of"}  # the base classes have them, or do not need them
NEEDS = {"client": ("job", "sweep"), "job": (), "sweep": ("job",)}


def main() -> int:
    """Write the modules, or with `--check` tell which ones differ. Returns the exit code."""
    changed = []
    for name in CLASSES:
        path = FOLDER / "aio" / f"{name}.py"
        text = formatted(module(name), path)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            changed.append(str(path))
    if changed:
        print(f"not what the synchronous classes give: {', '.join(changed)}; run python .ci/async_client.py")
    return 1 if changed else 0


def module(name: str) -> str:
    """Return the source of the module with the asynchronous class."""
    own, sources = CLASSES[name]
    trees = [ast.parse((FOLDER / f"{source}.py").read_text()) for source in sources]
    methods = [text for tree in trees for node in functions(tree) if (text := method(own, node))]
    bases = f"from leym.client.aio.base import {own}Base"
    siblings = [f"from leym.client.aio.{other} import Async{CLASSES[other][0]}" for other in NEEDS[name]]
    body = f'class Async{own}({own}Base):\n    """`{own}` for asyncio."""\n\n' + indent("\n".join(methods), "    ")
    imports, typing_only = needed(dict(zip(sources, trees, strict=True)), body)
    return "\n".join(
        (
            f'"""The {name} of the SDK for asyncio. Written by `.ci/async_client.py`; edit the synchronous class."""\n',
            "from __future__ import annotations\n",
            *imports,
            bases,
            *siblings,
            "\nif TYPE_CHECKING:\n    " + "\n    ".join(typing_only) + "\n" if typing_only else "",
            body,
            "",
        )
    )


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the public methods and properties of the classes of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and item.name not in OWN:
                    yield item


def method(own: str, node: ast.FunctionDef) -> str | None:
    """Return the asynchronous form of a method, or None for a deprecated one."""
    summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    if summary.startswith("Deprecated"):
        return None
    returns = ast.unparse(node.returns) if node.returns else "None"
    if node.decorator_list:
        head = f"@property\ndef {node.name}(self) -> {returns}:"
        return f'{head}\n    """{summary}"""\n    return self._sync.{node.name}\n'
    arguments, call = ast.unparse(node.args).replace("str | Job]", "str | AsyncJob]"), passed(node.args)
    target = f"self._sync.{node.name}"
    document = f'"""{summary}\n\n    See `{own}.{node.name}`.\n    """'
    if returns.startswith("Iterator["):
        item = returns.removeprefix("Iterator[").removesuffix("]")
        each = f"self._threads.each({target}({call}))"
        made = f"Async{item}(self._threads, item)" if item in ("Job", "Sweep") else "item"
        kind = f"Async{item}" if item in ("Job", "Sweep") else item
        text = f"async for item in {each}:\n        yield {made}"
        return f"async def {node.name}({arguments}) -> AsyncIterator[{kind}]:\n    {document}\n    {text}\n"
    if own == "Client" and node.name == "run":
        given = passed(node.args, without=("timeout", "progress"))
        text = f"return await (await self.submit({given})).wait(timeout, progress)"
        return f"async def run({arguments}) -> AsyncJob:\n    {document}\n    {text}\n"
    run = f"await self._threads.run({target}{', ' if call else ''}{call})"
    if returns in (own, "Self") and own != "Client" and node.name in ("refresh", *IN_PLACE[own]):
        return f"async def {node.name}({arguments}) -> Self:\n    {document}\n    {run}\n    return self\n"
    kind = own if returns == "Self" else returns
    if kind in ("Job", "Sweep"):
        text = f"return Async{kind}(self._threads, {run})"
        return f"async def {node.name}({arguments}) -> Async{kind}:\n    {document}\n    {text}\n"
    text = run if returns == "None" else f"return {run}"
    return f"async def {node.name}({arguments}) -> {returns}:\n    {document}\n    {text}\n"


IN_PLACE = {
    "Client": (),
    "Job": ("cancel", "update"),
    "Sweep": ("cancel", "pause", "resume", "retry", "set_priority", "update"),
}


OF_JOBS = {  # arguments that are jobs, and how the synchronous ones are found
    "beside": "[job._sync for job in beside]",
    "other": "other._sync",
    "jobs": "None if jobs is None else [job if isinstance(job, str) else job.id for job in jobs]",
}


def passed(arguments: ast.arguments, without: tuple[str, ...] = ()) -> str:
    """Return the arguments of a call that passes all parameters on."""
    parts = [
        OF_JOBS.get(arg.arg, arg.arg)
        for arg in (*arguments.posonlyargs, *arguments.args)
        if arg.arg not in ("self", *without)
    ]
    parts += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    return ", ".join(
        parts + [f"{arg.arg}={OF_JOBS.get(arg.arg, arg.arg)}" for arg in arguments.kwonlyargs if arg.arg not in without]
    )


def needed(trees: dict[str, ast.Module], body: str) -> tuple[list[str], list[str]]:
    """Return the imports that the body needs, and those that only type checkers need."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    found = {"AsyncIterator": "from collections.abc import AsyncIterator", "Self": "from typing import Self"}
    typing_only: dict[str, str] = {}
    for source, tree in trees.items():
        for node in tree.body:
            guarded = node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else None
            for item in guarded if guarded is not None else [node]:
                if isinstance(item, ast.Import | ast.ImportFrom):
                    target = found if guarded is None else typing_only
                    for alias in item.names:
                        one = type(item)(**{**{f: getattr(item, f) for f in item._fields}, "names": [alias]})
                        target[alias.asname or alias.name] = ast.unparse(one)
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name):  # an alias of a type, or the value of a default
                    found.setdefault(target.id, f"from leym.client.{source} import {target.id}")
    guarded_names = [line for name, line in typing_only.items() if name in used]
    plain = [line for name, line in found.items() if name in used]
    return plain + (["from typing import TYPE_CHECKING"] if guarded_names else []), guarded_names


def formatted(text: str, path: Path) -> str:
    """Return the text as ruff formats it."""
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--stdin-filename", str(path), "-"]
    for command in ((*ruff, "check", "--select", "I", "--fix-only", "--quiet"), (*ruff, "format", "--quiet")):
        text = subprocess.run([*command, *options], input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    sys.exit(main())
