"""Compresses text responses with gzip for clients that accept it."""

from __future__ import annotations

import gzip

from flask import Flask, Response, request

MIN_BYTES = 1024  # a shorter response fits into one packet uncompressed
LEVEL = 5  # takes about a millisecond for 100 KB of JSON; higher levels save a few percent for several times that
TYPES = ("text/", "application/json", "application/problem+json")


def register(app: Flask) -> None:
    """Compress the responses of `app`. Call this first: Flask runs `after_request` functions in reverse order."""

    @app.after_request
    def compress(response: Response) -> Response:
        if response.is_streamed or not (response.mimetype or "").startswith(TYPES):
            return response  # events must go out one by one, and files are sent unchanged
        if "Accept-Ranges" in response.headers or "Content-Encoding" in response.headers:
            return response  # ranges count uncompressed bytes
        body = response.get_data()
        if len(body) < MIN_BYTES:
            return response
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.best_match(["gzip", "identity"]) != "gzip":
            return response
        if etag := response.get_etag()[0]:
            response.set_etag(etag, weak=True)  # weak, since the same JSON now has other bytes
        if response.status_code != 304:
            response.set_data(gzip.compress(body, LEVEL, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
        return response
