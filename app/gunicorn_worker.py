"""A gunicorn worker whose threads serve complete requests rather than connections.

gunicorn's own thread worker (gthread) reads the head of a request in a thread, so a few hundred half-sent requests
occupy all of its threads. In this worker, the main loop reads the head, and the body if it is short, of every
connection, and hands only complete requests to threads. Probes have threads of their own, so they answer under any
load. TLS is not supported; it belongs to a proxy.
"""

from __future__ import annotations

import errno
import json
import re
import selectors
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from app.concurrency_limits import SHORT_BYTES
from leym.settings import settings

LINGER_S = 2.0  # how long a client has to read the response before its connection closes
HEAD_BYTES = 2**15
PROBE_THREADS = 4
_PROBE = re.compile(rb"(?:GET|HEAD) [^\s?]*/(?:healthz|readyz|metrics)[? ]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.I)
_EXPECTS = re.compile(rb"\r\nexpect:", re.I)  # the client waits for "100 Continue" before it sends the body


class HeadFirstWorker(ThreadWorker):
    """A gthread worker that receives the head of each request before it gives the request to a thread.

    It overrides gthread's methods for accepting, dispatching and finishing; gthread's lists of kept-alive and pending
    connections stay empty. Instead, `_waiting` holds every connection that no thread serves, with its deadline: its
    client may be about to send a request, in the middle of sending one, or reading the last response. The bytes that
    have arrived of the next request are in `conn.received`.

    Only the main loop runs these methods, except for `handle`.
    """

    def init_process(self) -> None:
        """Prepare the process after the fork, then run gunicorn's main loop."""
        self._waiting: dict[TConn, float] = {}  # connection -> deadline on the monotonic clock; oldest first
        self._head_s, self._stall_s = settings().head_s, settings().stall_s
        self._probes = ThreadPoolExecutor(PROBE_THREADS, "probes")
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, closing the oldest waiting one if there are too many."""
        if self.nr_conns >= self.worker_connections - 1:
            self._close_oldest()
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._close_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(self._stall_s), 0))
        self.nr_conns += 1
        self._await_request(TConn(self.cfg, sock, client, listener.getsockname()), self._head_s)

    def _await_request(self, conn: TConn, timeout_s: float, received: bytes = b"") -> None:
        """Wait for the next request of a connection, of which `received` has already arrived."""
        conn.sock.setblocking(False)
        conn.received = bytearray(received)
        self._wait(conn, timeout_s, self._on_request)
        if received:
            self._dispatch_if_complete(conn)

    def _wait(self, conn: TConn, timeout_s: float, on_readable: Callable[[TConn, Any], None]) -> None:
        if not self.alive:
            timeout_s = min(timeout_s, STOP_KEEPALIVE_LINGER)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(on_readable, conn))
        self._waiting[conn] = time.monotonic() + timeout_s

    def _on_request(self, conn: TConn, _: Any) -> None:
        try:
            data = conn.sock.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._abandon(conn)
            return
        if not conn.received:
            self._waiting[conn] = time.monotonic() + self._head_s
        conn.received += data
        self._dispatch_if_complete(conn)

    def _dispatch_if_complete(self, conn: TConn) -> None:
        """Hand the request to a thread once its head has arrived, and its body if that is short."""
        head = conn.received.find(b"\r\n\r\n")
        if head < 0:
            if len(conn.received) <= HEAD_BYTES:
                return
            if conn.received.find(b"\r\n", 0, HEAD_BYTES // 2) >= 0:
                self._refuse(conn, 431, f"the headers have more than {HEAD_BYTES} bytes")
                return
            # the request line alone is too long: gunicorn's parser refuses it with 414
        elif length := _LENGTH.search(conn.received, 0, head + 2):
            missing = head + 4 + int(length[1]) - len(conn.received)
            if missing > 0 and int(length[1]) <= SHORT_BYTES and not _EXPECTS.search(conn.received, 0, head):
                return
        self._stop_waiting(conn)
        conn.data_ready = True
        self.enqueue_req(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Serve the request in a thread for probes or in one for all other requests."""
        pool = self._probes if _PROBE.match(conn.received) else self.tpool
        pool.submit(self.handle, conn).add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def handle(self, conn: TConn) -> Any:
        """Serve the request, in a thread. Returns whether the connection stays open."""
        conn.sock.setblocking(True)
        conn.init()
        conn.parser.unreader.unread(bytes(conn.received))
        return super().handle(conn)

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        """Wait for the next request after `handle`, or close the connection without blocking the main loop."""
        stays_open = not done.cancelled() and done.exception() is None and done.result()
        try:
            if stays_open:
                self._await_request(conn, self.cfg.keepalive, conn.parser.unreader.take_buffered())
            else:
                self._linger(conn)
        except (OSError, ValueError):  # gunicorn closes the socket itself after some errors
            self._close(conn)

    def _linger(self, conn: TConn) -> None:
        """Close the connection once the client has read the response.

        If unread bytes of the request were left when the socket closes, the client would get a reset instead.
        """
        conn.received.clear()
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.setblocking(False)
        self._wait(conn, LINGER_S, self._on_unread_bytes)

    def _on_unread_bytes(self, conn: TConn, _: Any) -> None:
        try:
            if conn.sock.recv(HEAD_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # a client that closes with an error has nothing more to send, as at the end of its data
        self._abandon(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Return whether the connection can serve another request: a body that was refused unread closes it."""
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + 0.1))

    def murder_pending(self) -> None:
        """Close connections whose deadline has passed. gunicorn's main loop calls this about once a second."""
        now = time.monotonic()
        for conn in [conn for conn, deadline in self._waiting.items() if deadline <= now]:
            if conn.received:
                self._refuse(conn, 408, f"the request was not complete after {self._head_s:g} seconds")
            else:
                self._abandon(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Close waiting connections by `deadline`, since the process is stopping. gunicorn calls this."""
        for conn, own_deadline in self._waiting.items():
            self._waiting[conn] = min(own_deadline, deadline)

    def _refuse(self, conn: TConn, status: int, detail: str) -> None:
        """Answer with a problem without the app, and close the connection."""
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
        head = f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}"
        self._stop_waiting(conn)
        try:
            conn.sock.send(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            self._linger(conn)
        except OSError:  # the client has disconnected, or does not read
            self._close(conn)

    def _close_oldest(self) -> None:
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            self._abandon(oldest)

    def _abandon(self, conn: TConn) -> None:
        """Close a waiting connection without a response."""
        self._stop_waiting(conn)
        self._close(conn)

    def _stop_waiting(self, conn: TConn) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()
