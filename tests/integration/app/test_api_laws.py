"""Laws over REST: uploads, imports, versions, removal and refusals."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from werkzeug.serving import make_server

from leym.client import Client, ProblemError
from leym.contract.problems import Problem
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle
from leym.laws.importing.convert import import_law
from leym.laws.registry import Registry
from leym.laws.versions import add_copy, add_version, staging_folder
from tests.support.api import Api, Pretender, opened, refused
from tests.support.checkpoints import CHECKPOINT, EXPERIMENT, Calls, pickled, zipped_pickle
from tests.support.command import leym
from tests.support.law_uploads import form, law, put, zipped
from tests.support.laws import write_law
from tests.support.paths import ROOT


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path / "data") as found:
        yield found


SHIPPED = {path.name for path in (ROOT / "laws").iterdir()}


def names(api: Api) -> list[str]:
    """Return the names of the laws that did not come with the service."""
    return [law["name"] for law in api.http.get("/v1/laws").json["items"] if law["name"] not in SHIPPED]


def test_a_bundle_comes_as_zip_or_as_form_and_can_be_run(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    answer = put(api, "tiny", zipped(bundle), digest=bundle.digest[:16])
    assert answer.status_code == 201, answer.text
    assert answer.json["ref"] == bundle.ref
    assert answer.json["versions"] == [bundle.ref]
    assert api.http.get(answer.headers["Location"]).json == answer.json == api.http.get("/v1/laws/tiny").json
    assert put(api, "tiny", zipped(bundle, "some-folder/")).status_code == 200
    files = {key: (bundle.path / name).read_bytes() for key, name in (("manifest", MANIFEST), ("weights", WEIGHTS))}
    assert form(api, "tiny", **files).status_code == 200
    renamed = form(api, "other", **files)
    assert renamed.status_code == 201
    assert renamed.json["ref"] == f"other@{bundle.digest}"
    assert names(api) == ["other", "tiny"]
    job = api.submit(law="tiny", grid=[8, 8])
    assert api.http.get(f"/v1/jobs/{job}").json["law"] == bundle.ref
    assert not [p for p in (tmp_path / "data" / "laws").iterdir() if p.name.startswith(".")]


def test_versions_never_change_and_the_bare_name_is_the_last_one_put(api: Api, tmp_path: Path) -> None:
    first, second = law(tmp_path, 1), law(tmp_path, 2)
    for bundle in (first, second):
        assert put(api, "tiny", zipped(bundle)).status_code == 201
    assert api.http.get("/v1/laws/tiny").json["versions"] == [second.ref, first.ref]
    job = api.submit(law=f"tiny@{first.digest[:8]}", grid=[8, 8])
    assert api.table.get(job).law == first.ref
    assert api.services.laws.resolve(first.ref).digest == first.digest
    assert put(api, "tiny", zipped(first)).status_code == 200
    assert api.http.get("/v1/laws/tiny").json["ref"] == first.ref
    other = Registry(tmp_path / "data" / "laws")  # another process
    assert other.resolve("tiny").ref == first.ref
    assert other.resolve(second.ref).ref == second.ref


def test_a_law_may_hide_a_shipped_one_but_not_remove_it(api: Api, tmp_path: Path) -> None:
    shipped = api.http.get("/v1/laws/aurora").json["ref"]
    mine = law(tmp_path, 3, "aurora")
    put(api, "aurora", zipped(mine))
    assert api.http.get("/v1/laws/aurora").json["versions"] == [mine.ref, shipped]
    assert api.http.get(f"/v1/laws/{shipped}").status_code == 200
    assert api.http.delete("/v1/laws/aurora").status_code == 204
    assert api.http.get("/v1/laws/aurora").json["versions"] == [shipped]
    refused(api.http.delete("/v1/laws/aurora"), 403, "aurora", "comes with the service")


def test_a_law_is_not_removed_while_jobs_need_it(api: Api, tmp_path: Path) -> None:
    first, second = law(tmp_path, 1), law(tmp_path, 2)
    put(api, "tiny", zipped(first))
    put(api, "tiny", zipped(second))
    job = api.submit(law=first.ref, grid=[8, 8])
    refused(api.http.delete("/v1/laws/tiny"), 409, first.digest, job, "queued")
    worker = Pretender(api, job)
    refused(api.http.delete(f"/v1/laws/{first.ref}"), 409, job, "running")
    assert api.http.delete(f"/v1/laws/{second.ref}").status_code == 204
    assert api.http.get("/v1/laws/tiny").json["versions"] == [first.ref]
    worker.run(30)
    worker.finish()
    sweep = {"base": {"law": first.ref, "grid": [8, 8], "steps": 5}, "axes": {"seed": [1, 2]}}
    id = api.http.post("/v1/sweeps", json=sweep).json["id"]
    refused(api.http.delete("/v1/laws/tiny"), 409, first.digest, "queued")
    api.http.post(f"/v1/sweeps/{id}/cancel")
    assert api.http.delete("/v1/laws/tiny").status_code == 204
    refused(api.http.get("/v1/laws/tiny"), 404, "tiny")
    refused(api.http.delete("/v1/laws/tiny"), 404, "tiny")
    refused(api.http.delete("/v1/laws/..%2fx"), 404)
    refused(api.http.delete("/v1/laws/tiny@xyz"), 422, "tiny@xyz", pointer="/name")
    assert not (tmp_path / "data" / "laws" / "tiny").exists()


def test_a_law_copied_by_hand_is_a_version_too(api: Api, tmp_path: Path) -> None:
    laws = tmp_path / "data" / "laws"
    first, second = law(tmp_path, 1), law(tmp_path, 2)
    assert add_copy(laws, first.path)[0].path == laws / "tiny"
    assert put(api, "tiny", zipped(second)).status_code == 201
    assert put(api, "tiny", zipped(first)).status_code == 200  # found in the plain layout
    assert api.http.get("/v1/laws/tiny").json["versions"] == [first.ref, second.ref]
    assert api.http.delete(f"/v1/laws/{first.ref}").status_code == 204
    assert api.http.get("/v1/laws/tiny").json["versions"] == [second.ref]
    assert not (laws / "tiny" / MANIFEST).exists()


def test_a_name_means_the_law_in_the_folder_of_that_name_before_copies_elsewhere(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    first, second, third = (law(tmp_path, seed) for seed in (1, 2, 3))
    registry = Registry(shipped, own)
    shutil.copytree(first.path, own / "backup")  # a copy by hand, under another name
    assert registry.resolve("tiny").digest == first.digest
    shutil.copytree(second.path, shipped / "tiny")
    assert registry.resolve("tiny").digest == second.digest
    assert registry.resolve(f"tiny@{first.digest[:12]}").digest == first.digest
    shutil.copytree(third.path, own / "tiny")
    assert registry.resolve("tiny").digest == third.digest
    assert {one.digest for one in registry.find("tiny")} == {first.digest, second.digest, third.digest}
    with pytest.raises(Problem, match="known: tiny"):
        registry.resolve("backup")


def test_concurrent_additions_all_succeed(tmp_path: Path) -> None:
    laws = tmp_path / "laws"
    bundles = [law(tmp_path, seed % 3) for seed in range(12)]
    added: list[bool] = []

    def add(bundle: Bundle) -> None:
        with staging_folder(laws) as work:
            write_law(work / "law" / bundle.name, load_file(bundle.path / WEIGHTS), architecture="MLP", d_state=2,
                      hidden_channels=4, form="additive")  # fmt: skip
            added.append(add_version(laws, work / "law" / bundle.name)[1])

    threads = [threading.Thread(target=add, args=(bundle,)) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 12
    assert sum(added) == 3
    assert len(Registry(laws).find("tiny")) == 3


def test_a_checkpoint_is_imported(api: Api, tmp_path: Path) -> None:
    parts = {"checkpoint": CHECKPOINT.read_bytes(), "config": (EXPERIMENT / "config.json").read_bytes()}
    answer = form(api, "mine", **parts)
    assert answer.status_code == 201, answer.text
    assert answer.json["architecture"] == "UNET_UNITARY"
    assert answer.json["form"] == "diagonal"
    here = import_law(EXPERIMENT, "mine", target=tmp_path)
    there = api.services.laws.resolve("mine")
    assert (there.path / WEIGHTS).read_bytes() == (here.path / WEIGHTS).read_bytes()
    only = {"checkpoint": CHECKPOINT.read_bytes()}
    refused(form(api, "x", **only), 422, "UNET and UNET_UNITARY", pointer="/architecture")
    assert form(api, "x", **only, architecture="UNET", d_state="4", hidden_channels="8").status_code == 201
    refused(form(api, "y", **only, architecture="UNET", d_state="5"), 422, "d_state = 5", pointer="/d_state")
    refused(form(api, "y", **only, architecture="UNET", form="odd"), 422, "odd", pointer="/form")
    refused(form(api, "y", **only, colour="red"), 422, "colour", pointer="/colour")
    refused(form(api, "y", **parts | {"config": b"{"}), 422, "config.json")
    marker = tmp_path / "owned"
    hostile = zipped_pickle(tmp_path / "h.pth", pickled({"a": Calls(os.system, f"touch {marker}")}))
    refused(form(api, "y", checkpoint=hostile.read_bytes()), 422, "system", "nothing in it was run")
    assert not marker.exists()


def _zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_zips_that_escape_link_expand_or_hold_something_else_are_refused(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    manifest, weights = ((bundle.path / name).read_bytes() for name in (MANIFEST, WEIGHTS))
    good = zipped(bundle)
    for words, body in {
        "leads": _zip(("../manifest.json", manifest), (WEIGHTS, weights)),
        "out of": _zip((MANIFEST, manifest), ("/etc/weights.safetensors", weights)),
        "folder": _zip(("a\\..\\..\\x", b"")),
        "symbolic link": _zip((MANIFEST, manifest), (_link(WEIGHTS), b"/etc/passwd")),
        "at most 100 times": _zip((MANIFEST, manifest), (WEIGHTS, bytes(2**24))),
        "nothing else": _zip((MANIFEST, manifest), (WEIGHTS, weights), ("more.txt", b"")),
        "'x.txt'": _zip(("x.txt", b"")),
        "contains nothing": _zip(),
        "at most 1048576": _zip((MANIFEST, os.urandom(2**20 + 1)), (WEIGHTS, weights)),
        "its end is missing": good[:-1],
        "not a zip": b"PK\x05\x06",
        "CRC": _flipped(bundle),
        "not a safetensors": _zip((MANIFEST, manifest), (WEIGHTS, weights[:8] + b"x" + weights[9:])),
        "header of": _zip((MANIFEST, manifest), (WEIGHTS, b"\xff" * 9)),
        "Field required": _zip((MANIFEST, b"{}"), (WEIGHTS, weights)),
    }.items():
        refused(put(api, "tiny", body), 422, words)
    assert not (tmp_path / "etc").exists()
    assert not list((tmp_path / "data" / "laws").iterdir())


def _flipped(bundle: Bundle) -> bytes:
    body = bytearray(zipped(bundle, kind=zipfile.ZIP_STORED))
    at = body.index((bundle.path / WEIGHTS).read_bytes()[-8:])
    body[at] ^= 1
    return bytes(body)


def test_weights_and_manifests_that_do_not_fit_are_refused(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    manifest, arrays = (bundle.path / MANIFEST).read_bytes(), load_file(bundle.path / WEIGHTS)
    wild = arrays | {"net.0.bias": np.full(4, np.inf, np.float32)}
    for words, changed in {
        "missing key 'net.0.bias'": {k: v for k, v in arrays.items() if k != "net.0.bias"},
        "unexpected key 'more'": arrays | {"more": np.zeros(1, np.float32)},
        "shape [5]": arrays | {"net.0.bias": np.zeros(5, np.float32)},
        "'net.0.bias' has values that are not finite": wild,
        "dtype I32": arrays | {"net.0.bias": np.zeros(4, np.int32)},
        "are not finite": {key: value.astype(np.float16) for key, value in wild.items()},
    }.items():
        refused(put(api, "tiny", _zip((MANIFEST, manifest), (WEIGHTS, save(changed)))), 422, words)
    halves = save({key: value.astype(np.float16) for key, value in arrays.items()})
    assert put(api, "halves", _zip((MANIFEST, manifest), (WEIGHTS, halves))).status_code == 201
    odd = json.loads(manifest) | {"architecture": "NOPE"}
    refused(put(api, "tiny", _zip((MANIFEST, json.dumps(odd).encode()), (WEIGHTS, halves))), 422, "NOPE", "known")


def test_other_refusals(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = law(tmp_path)
    body = zipped(bundle)
    refused(put(api, "tiny", body, digest="0" * 64), 422, "0" * 64, bundle.digest, pointer="/digest")
    refused(put(api, "tiny", body, digest="xyz"), 422, "digest", pointer="/digest")
    refused(put(api, "tiny", body, colour="red"), 422, "colour")
    refused(put(api, "a b", body), 422, "a b", pointer="/name")
    refused(put(api, bundle.ref, body), 422, pointer="/name")
    refused(api.http.put("/v1/laws/tiny", data=body, content_type="text/plain"), 415, "text/plain", "application/zip")
    refused(form(api, "tiny", manifest=b"{}"), 422, "manifest", "weights")
    refused(form(api, "tiny"), 422, "nothing")
    assert names(api) == []
    monkeypatch.setattr("app.law_uploads.LIMITS.law_bytes", 500)
    refused(put(api, "tiny", body), 422, "500")
    refused(form(api, "tiny", manifest=b"{}", weights=bytes(501)), 413, "500")
    monkeypatch.setattr("app.law_uploads.LIMITS.law_bytes", len(body) - 2**20 - 1)
    refused(put(api, "tiny", body), 413)


def test_the_sdk_adds_imports_shows_and_deletes(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    packed = tmp_path / "tiny.zip"
    packed.write_bytes(zipped(bundle, "tiny/"))
    busy = {"application/zip", "multipart/form-data"}  # the first body of either kind is answered 503

    def proxy(environ: dict[str, Any], start: Any) -> Any:
        kind = environ.get("CONTENT_TYPE", "").partition(";")[0]
        if kind in busy:
            busy.remove(kind)
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            start("503 Busy", [("Content-Length", "0")])
            return [b""]
        return api.app(environ, start)

    server = make_server("127.0.0.1", 0, proxy, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.port}") as client:
            assert client.add_law(bundle.path, digest=bundle.digest)["ref"] == bundle.ref
            assert client.add_law(packed) == client.law("tiny") == client.law(bundle.ref)
            assert client.add_law(packed, "other")["ref"] == f"other@{bundle.digest}"
            mine = client.import_law(EXPERIMENT, "mine")
            assert mine["form"] == "diagonal"
            assert mine["provenance"]["imported_from"] == CHECKPOINT.name
            again = client.import_law(CHECKPOINT, "again", form="diagonal", d_state=4, resize_antialias=None)
            assert again["architecture"] == "UNET_UNITARY"
            assert [law["name"] for law in client.laws() if law["name"] not in SHIPPED] == [
                "again",
                "mine",
                "other",
                "tiny",
            ]
            client.delete_law(bundle.ref)
            for wrong in (
                lambda: client.delete_law("tiny"),
                lambda: client.add_law(packed, digest="0" * 64),
                lambda: client.import_law(CHECKPOINT, "x", resize_antialias=True),
                lambda: client.law("../jobs"),
            ):
                with pytest.raises(ProblemError):
                    wrong()
            for nothing in (tmp_path, CHECKPOINT, tmp_path / "nowhere"):
                with pytest.raises(ValueError, match="not a bundle"):
                    client.add_law(nothing)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_command_adds_into_a_folder_without_a_service(tmp_path: Path) -> None:
    bundle = law(tmp_path)
    nowhere = {"LEYM_URL": "http://127.0.0.1:9", "LEYM_DATA": ""}
    data = tmp_path / "data"
    done = leym("laws", "add", str(bundle.path), "--data", str(data), **nowhere)
    assert (done.returncode, done.stdout.strip()) == (0, bundle.ref), done.stderr
    assert (data / "laws" / "tiny" / MANIFEST).exists()
    done = leym("laws", "add", str(bundle.path), **nowhere | {"LEYM_DATA": str(data)})
    assert done.returncode == 2
    assert "exists already" in done.stderr
    done = leym("laws", "import", str(EXPERIMENT), "--name", "mine", "--data", str(data), "--json", **nowhere)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "mine", done.stderr
    assert {b.name for b in Registry(data / "laws").bundles()} == {"tiny", "mine"}
    assert leym("laws", "add", str(tmp_path), "--data", str(data), **nowhere).returncode == 2
    assert leym("laws", "show", "tiny", **nowhere).returncode == 3
