"""A load client that leaves the cores to the service: HTTP/1.1 over asyncio streams, one connection per user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit


class Connection:
    """Keep-alive, one request at a time. Opened at the first request, and again when the server has closed it."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError or asyncio.IncompleteReadError when the server goes away."""
        request = _request(method, path, self.host, body)
        if self._streams is not None and self._streams[0].at_eof():  # idle for longer than the server keeps it
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length:")
        found = await reader.readexactly(int(length.split(b"\r\n", 1)[0] or 0)) if length else b""
        if b"connection: close" in head:
            await self.close()
        return int(head[9:12]), found

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def events(url: str, path: str) -> AsyncIterator[tuple[str, int | None]]:
    """(event, id) of every server-sent event until the stream ends. Raises ConnectionError if it is refused."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
    try:
        # HTTP/1.0: the body then comes as it is, not in chunks
        writer.write(_request("GET", path, str(parts.hostname), None).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        head = await reader.readuntil(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
        ident: int | None = None
        while line := await reader.readline():
            if line.startswith(b"id: "):
                ident = int(line[4:])
            elif line.startswith(b"event: "):
                yield line[7:].strip().decode(), ident
                ident = None
    finally:
        writer.close()


def _request(method: str, path: str, host: str, body: Any) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    data = json.dumps(body).encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
