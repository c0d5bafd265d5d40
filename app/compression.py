"""Answers of text are sent compressed to those who accept it (gzip, which every client knows)."""

from __future__ import annotations

import gzip

from flask import Flask, Response, request

LEAST_BYTES = 1024  # a shorter answer fits into one packet as it is
LEVEL = 5  # JSON of 100 KB takes about a millisecond; higher levels gain a few percent for several times that
KINDS = ("text/", "application/json", "application/problem+json")


def register(app: Flask) -> None:
    """Before everything else that looks at answers, so that it comes last of them."""

    @app.after_request
    def compress(response: Response) -> Response:
        if response.is_streamed or not (response.mimetype or "").startswith(KINDS):
            return response  # events must go out one by one; files are sent as they are
        if "Accept-Ranges" in response.headers or "Content-Encoding" in response.headers:
            return response  # ranges count the bytes as they are
        body = response.get_data()
        if len(body) < LEAST_BYTES:
            return response
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.best_match(["gzip", "identity"]) != "gzip":
            return response
        if etag := response.get_etag()[0]:
            response.set_etag(etag, weak=True)  # the same JSON in other bytes
        if response.status_code != 304:
            response.set_data(gzip.compress(body, LEVEL, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
        return response
