"""Compressed answers of a running service."""

from __future__ import annotations

import gzip
import urllib.request

GZIP = {"Accept-Encoding": "gzip"}


def test_compressed_answers_come_through_the_whole_service(service) -> None:
    found = []
    for headers in ({}, GZIP):
        with urllib.request.urlopen(urllib.request.Request(f"{service.url}/openapi.json", headers=headers)) as answer:
            found.append((answer.headers.get("Content-Encoding"), answer.read()))
    (none, plain), (coding, packed) = found
    assert none is None
    assert coding == "gzip"
    assert gzip.decompress(packed) == plain
