"""Laws for tests of the API, and the two ways to send one."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle
from tests.support.api import Api
from tests.support.laws import random_law


def law(folder: Path, seed: int = 0, name: str = "tiny") -> Bundle:
    return random_law(folder / str(seed) / name, "MLP", seed=seed)


def zipped(bundle: Bundle, prefix: str = "", kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name in (MANIFEST, WEIGHTS):
            archive.write(bundle.path / name, prefix + name)
    return file.getvalue()


def put(api: Api, name: str, body: bytes, **query: str) -> Any:
    return api.http.put(f"/v1/laws/{name}", data=body, content_type="application/zip", query_string=query)


def form(api: Api, name: str, **parts: Any) -> Any:
    data = {key: (io.BytesIO(p), f"{key}.bin") if isinstance(p, bytes) else p for key, p in parts.items()}
    return api.http.put(f"/v1/laws/{name}", data=data, content_type="multipart/form-data")
