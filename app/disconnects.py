"""Detects that a client has closed its connection while a stream or a long poll has nothing to send."""

from __future__ import annotations

import socket
from collections.abc import Callable

from flask import request


def disconnect_check() -> Callable[[], bool]:
    """Return a function that tells whether the client of the current request has closed its connection.

    The function needs gunicorn's socket; under another server, such as a test client, it always returns False.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def has_disconnected() -> bool:
        if connection is None:
            return False
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False  # still open: the client has nothing to send until the response ends
        except OSError:
            return True

    return has_disconnected
