"""A TCP relay that cuts connections after a number of bytes, at any place of a message."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Relay:
    """Relays connections to a service. url: where; cuts: connections that were cut so far."""

    def __init__(self, target: str, cuts: int, most: int, seed: int):
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._random, self._left, self._most = random.Random(seed), cuts, most
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            left = self._random.randint(0, self._most) if self._left > 0 else None
            self._left -= 1
            server = socket.create_connection(self._target)
            threading.Thread(target=self._copy, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, left), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        try:
            while data := source.recv(2**16 if left is None else min(left + 1, 2**16)):
                if left is not None and len(data) > left:
                    sink.sendall(data[:left])
                    self.cuts += 1
                    for end in (source, sink):  # a reset, not an orderly end
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                    break
                sink.sendall(data)
                left = None if left is None else left - len(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


@contextmanager
def cutting(target: str, cuts: int, most: int, seed: int = 0) -> Iterator[Relay]:
    """A relay that cuts its first `cuts` connections after at most `most` bytes of the answer."""
    relay = Relay(target, cuts, most, seed)
    try:
        yield relay
    finally:
        relay.close()
