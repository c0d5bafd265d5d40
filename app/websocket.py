"""Upgrades a request to a WebSocket (RFC 6455) on the connection of the request's own thread.

The protocol is that of `websockets`, without its threads and queues: a stream sends only when the connection takes
more bytes, so a slow client delays its own thread and nothing waits in memory.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, request
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from werkzeug.routing import Rule

from leym.contract.problems import Problem

log = logging.getLogger(__name__)

PING_S = 15.0  # an idle connection is asked so often whether its client is alive
SILENCE_S = 45.0  # time without an answer after which the client counts as gone
CLOSE_S = 30.0  # how long a client has to read what was sent before the end, and to answer it
RECEIVE_BYTES = 2**16
MESSAGE_BYTES = 2**12  # clients send nothing but control frames, which are short


class Closed(Exception):  # noqa: N818 - the normal end of a stream
    """Raised when the client has closed the connection, or does not answer any more."""


class WebSocket:
    """A WebSocket that sends messages; those of the client are ignored. Only one thread may use it."""

    def __init__(self, sock: socket.socket):
        """Set up the protocol on a connection whose handshake is over."""
        self._sock, self._protocol = sock, ServerProtocol(state=State.OPEN, max_size=MESSAGE_BYTES)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._pings = self._pongs = 0
        self._heard = self._pinged = self._asked = time.monotonic()  # asked: when `underway` was 0 for the last time

    @property
    def underway(self) -> int:
        """Number of pings that the client has not answered. It answers after it has read what came before the ping."""
        return self._pings - self._pongs

    def send(self, message: bytes | str) -> None:
        """Send a message, and return when the connection has taken all of it.

        Raises:
            Closed: The client has closed the connection, or has read nothing for LEYM_STALL_S.
        """
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def ping(self) -> None:
        """Send a ping, which counts as `underway` until the client answers it; raises like `send`."""
        self._pinged = time.monotonic()
        self._asked = self._asked if self.underway else self._pinged
        self._pings += 1
        self._protocol.send_ping(str(self._pings).encode())
        self._flush()

    def receive(self, timeout_s: float = 0.0) -> None:
        """Process what the client has sent: answer its pings, and count its answers to ours.

        Args:
            timeout_s: How long to wait if nothing has arrived; it returns early if something does.

        Raises:
            Closed: The client has closed the connection, or has been silent for SILENCE_S.
        """
        if timeout_s > 0:
            self._poll.poll(timeout_s * 1000)
        self._read()
        if self._protocol.state is not State.OPEN:
            raise Closed
        now = time.monotonic()
        if self.underway and now - max(self._heard, self._asked) > SILENCE_S:
            raise Closed
        if now - max(self._heard, self._pinged) > PING_S:
            self.ping()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait until the client has answered it, for at most CLOSE_S."""
        try:
            self._protocol.send_close(code, reason)
            self._flush()
            end = time.monotonic() + CLOSE_S
            while self._protocol.state is not State.CLOSED and (left := end - time.monotonic()) > 0:
                self._poll.poll(left * 1000)
                self._read()
        except (Closed, ConnectionClosed):
            pass  # both sides have closed it, which is what was wanted

    def _read(self) -> None:
        while self._protocol.state is not State.CLOSED:
            try:
                data = self._sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise Closed from error
            if data:
                self._heard = time.monotonic()
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.PONG and bytes(event.data).isdigit():
                    self._pongs = min(max(self._pongs, int(event.data)), self._pings)
            self._flush()

    def _flush(self) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._sock.sendall(data)
                else:
                    self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Closed from error


class UpgradeResponse(Response):
    """The response to an accepted handshake: the server calls it, and it returns when the WebSocket has ended."""

    def __init__(self, sock: socket.socket, handshake: bytes, serve: Callable[[WebSocket], None]):
        super().__init__(status=101)
        self._sock, self._handshake, self._serve = sock, handshake, serve

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Send the handshake, then serve.

        Raises:
            BrokenPipeError: Always: this makes the server close the connection without an HTTP response.
        """
        websocket = WebSocket(self._sock)
        try:
            self._sock.sendall(self._handshake)
            self._serve(websocket)
        except (Closed, ConnectionError):
            pass
        except Exception:
            log.exception("a WebSocket failed")
            websocket.close(CloseCode.INTERNAL_ERROR)
        finally:
            self.close()
        raise BrokenPipeError(errno.EPIPE, "the connection was a WebSocket")


def register(app: Flask, *endpoints: str) -> None:
    """Route handshakes to endpoints of `app`; other requests for them reach the same functions, which answer 426.

    werkzeug matches handshakes only to rules for WebSockets, and other requests only to the others.
    """
    for rule in list(app.url_map.iter_rules()):
        if rule.endpoint in endpoints:
            app.url_map.add(Rule(rule.rule, endpoint=rule.endpoint, methods=["GET"], websocket=True))


def upgrade(serve: Callable[[WebSocket], None]) -> UpgradeResponse:
    """Accept the current request's handshake.

    Args:
        serve: Sends the messages and closes the WebSocket. It runs in the context of the request.

    Raises:
        Problem: 426 if this is no handshake, 400 if it is malformed, 500 if the server gives no access to its socket.
    """
    answer = ServerProtocol().accept(Request(request.full_path, Headers(list(request.headers)), request.method))
    if answer.status_code == 426:
        raise Problem(426, "Upgrade required", _why_no_upgrade())
    if answer.status_code != 101:
        raise Problem(400, "Bad request", bytes(answer.body).decode().strip())
    sock = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if sock is None:
        raise Problem(500, "Internal error", "this server gives the API no access to its connections: use gunicorn")
    return UpgradeResponse(sock, answer.serialize(), serve)


def _why_no_upgrade() -> str:
    if "Sec-WebSocket-Key" in request.headers:
        return (
            "a proxy between the client and this service dropped the header Upgrade; nginx needs `proxy_http_version"
            " 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and `proxy_set_header Connection $connection_upgrade;`"
        )
    return "this address is a WebSocket: connect to it with ws:// or wss://"
