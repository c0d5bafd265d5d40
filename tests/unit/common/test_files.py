"""Files that people ask for: whole or not at all, with the mode that the umask leaves, and in place of nothing else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from leym.common.files import atomic_file, output_file, write_text
from tests.support.scripted_server import JOB, Scripted, answers, says

GIF = b"GIF89a" + bytes(range(256)) * 300


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "one")
    assert mode(path) == 0o666 & ~umask
    path.chmod(0o604)
    write_text(path, "ψ", durable=True)
    assert (mode(path), path.read_text(encoding="utf-8"), only(tmp_path)) == (0o604, "ψ", ["a.txt"])


def write_half(path: Path) -> None:
    with output_file(path) as file:
        file.write(b"half")
        raise RuntimeError("lost")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for before in (None, "old"):
        if before:
            path.write_text(before)
        with pytest.raises(RuntimeError, match="lost"):
            write_half(path)
        assert only(tmp_path) == (["a.txt"] if before else [])
    assert path.read_text() == "old"


@pytest.mark.usefixtures("umask")
def test_an_explicit_mode_holds_whatever_the_umask_is(tmp_path: Path) -> None:
    for asked in (0o644, 0o600):
        with atomic_file(tmp_path / "a", mode=asked, durable=True) as file:
            file.write(b"secret")
        assert (mode(tmp_path / "a"), only(tmp_path)) == (asked, ["a"])


def test_the_first_of_two_writers_that_do_not_replace_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with atomic_file(path, mode=0o600, replace=False) as first:
        first.write(b"first")
        with pytest.raises(FileExistsError), atomic_file(path, replace=False) as late:  # noqa: PT012 -- raised at the end of the block
            path.write_bytes(b"")  # another process comes in between
            late.write(b"late")
        path.unlink()
    assert (path.read_bytes(), only(tmp_path)) == (b"first", ["key"])


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_and_what_it_points_to_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if there:
        target.write_text("old")
    link.symlink_to(Path("elsewhere") / "target")
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert only(target.parent) == ["target"]


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old content that is longer")
    second.hardlink_to(first)
    write_text(first, "new")
    assert second.read_text() == "new"
    assert first.samefile(second)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for path in (Path("/dev/null"), link):
        write_text(path, "gone")
        assert stat.S_ISCHR(path.stat().st_mode)
    assert link.is_symlink()


def gives(kind: str, body: bytes) -> tuple[Callable[[BaseHTTPRequestHandler], None], ...]:
    """The two answers for saving a field: the job, and the file."""
    return answers(200, JOB), says(200, body, kind)


def leym(url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "leym.cli", "--url", url, *arguments]
    return subprocess.run(command, capture_output=True, timeout=240)


def test_the_command_writes_into_a_fifo_and_leaves_it_one(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    fifo, read = tmp_path / "phase.gif", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    done = leym(scripted(*gives("image/gif", GIF)).url, "frames", JOB["id"], "phase", "-o", str(fifo), "--json")
    assert done.returncode == 0, done.stderr
    assert b'"bytes": %d' % len(GIF) in done.stdout, done.stderr
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    reader.join(240)
    assert read == [GIF]


def test_the_command_writes_to_stdout_and_nothing_else(scripted: Callable[..., Scripted]) -> None:
    server = scripted(*gives("image/gif", GIF))
    assert leym(server.url, "frames", JOB["id"], "phase", "-o", "-", "-f", "gif").stdout == GIF
    table = b"step,activity\n0,1\n"
    server = scripted(*gives("text/csv", table))
    assert leym(server.url, "observables", JOB["id"], "--out", "-").stdout == table
    assert server.requests[-1][1].endswith("format=csv")
    both = leym(scripted(answers(200, JOB)).url, "frames", JOB["id"], "phase", "-o", "-", "--json")
    assert both.returncode == 2
    assert b"choose one" in both.stderr
    assert both.stdout == b""


def test_files_of_the_command_honour_the_umask(umask: int, scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    picture, page = tmp_path / "deep" / "phase.gif", tmp_path / "nf4.html"
    assert (
        leym(scripted(*gives("image/gif", GIF)).url, "frames", JOB["id"], "phase", "-o", str(picture)).returncode == 0
    )
    assert (mode(picture), picture.read_bytes()) == (0o666 & ~umask, GIF)
    report = scripted(says(200, b"<html>report"))
    assert leym(report.url, "fidelity", "show", "aurora", "--report", str(page)).returncode == 0
    assert (mode(page), page.read_bytes()) == (0o666 & ~umask, b"<html>report")
    report = scripted(says(200, b"<html>report"))
    assert leym(report.url, "fidelity", "show", "aurora", "--report", "-").stdout == b"<html>report"
