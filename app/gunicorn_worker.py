"""Gunicorn's threads, given to requests rather than to connections.

gthread reads the head of a request in a thread, so that a few hundred half-sent requests take all of them. Here the
main loop reads it, with the body when that is short, and a thread gets what is complete. Probes have threads of their
own. Not for TLS, which belongs to a proxy.
"""

from __future__ import annotations

import errno
import json
import re
import selectors
import socket
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from app.places import SHORT_BYTES
from leym.settings import settings

LINGER_S = 2.0  # after an answer that closes the connection, for the client to read it
HEAD_BYTES = 2**15
PROBE_THREADS = 4
_PROBE = re.compile(rb"(?:GET|HEAD) [^\s?]*/(?:healthz|readyz|metrics)[? ]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.I)
_EXPECTS = re.compile(rb"\r\nexpect:", re.I)  # the client sends its body when it is told to go on


class HeadFirstWorker(ThreadWorker):
    """A thread per complete request.

    Every connection that no thread works for is in `_waiting`, with the time at which it is given up: the client may be
    about to send a request, in the middle of one, or reading the last answer.
    """

    def init_process(self) -> None:
        self._waiting: dict[TConn, float] = {}
        self._head_s, self._stall_s = settings().head_s, settings().stall_s
        self._probes = ThreadPoolExecutor(PROBE_THREADS, "probes")
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        if self.nr_conns >= self.worker_connections - 1:
            self._give_up_oldest()
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._give_up_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(self._stall_s), 0))
        self.nr_conns += 1
        self._await_request(TConn(self.cfg, sock, client, listener.getsockname()), self._head_s)

    def _await_request(self, conn: TConn, patience_s: float, begun: bytes = b"") -> None:
        conn.sock.setblocking(False)
        conn.begun = bytearray(begun)
        self._wait(conn, patience_s, self._on_request)
        if begun:
            self._look(conn)

    def _wait(self, conn: TConn, patience_s: float, readable: Any) -> None:
        if not self.alive:
            patience_s = min(patience_s, STOP_KEEPALIVE_LINGER)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(readable, conn))
        self._waiting[conn] = time.monotonic() + patience_s

    def _on_request(self, conn: TConn, _: Any) -> None:
        try:
            data = conn.sock.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._give_up(conn)
            return
        if not conn.begun:
            self._waiting[conn] = time.monotonic() + self._head_s
        conn.begun += data
        self._look(conn)

    def _look(self, conn: TConn) -> None:
        """Hand the request to a thread if enough of it is there."""
        head = conn.begun.find(b"\r\n\r\n")
        if head < 0:
            if len(conn.begun) <= HEAD_BYTES:
                return
            if conn.begun.find(b"\r\n", 0, HEAD_BYTES // 2) >= 0:
                self._refuse(conn, 431, f"the headers have more than {HEAD_BYTES} bytes")
                return  # without an end of the first line, gunicorn refuses the address
        elif length := _LENGTH.search(conn.begun, 0, head + 2):
            missing = head + 4 + int(length[1]) - len(conn.begun)
            if missing > 0 and int(length[1]) <= SHORT_BYTES and not _EXPECTS.search(conn.begun, 0, head):
                return
        self._leave(conn)
        conn.data_ready = True
        self.enqueue_req(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """To the threads of probes, or to those of all others."""
        pool = self._probes if _PROBE.match(conn.begun) else self.tpool
        pool.submit(self.handle, conn).add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def handle(self, conn: TConn) -> Any:
        """In a thread."""
        conn.sock.setblocking(True)
        conn.init()
        conn.parser.unreader.unread(bytes(conn.begun))
        return super().handle(conn)

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        """In the main loop, after `handle`: wait for the next request, or close without waiting for the client."""
        kept = not done.cancelled() and done.exception() is None and done.result()
        try:
            if kept:
                self._await_request(conn, self.cfg.keepalive, conn.parser.unreader.take_buffered())
            else:
                self._linger(conn)
        except (OSError, ValueError):  # its socket was closed meanwhile: gunicorn does so after some errors
            self._close(conn)

    def _linger(self, conn: TConn) -> None:
        """Close once the client has read the answer: unread bytes of the request would cut it off."""
        conn.begun.clear()
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.setblocking(False)
        self._wait(conn, LINGER_S, self._on_rest)

    def _on_rest(self, conn: TConn, _: Any) -> None:
        try:
            if conn.sock.recv(HEAD_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # closed by the client, as at the end of what it sends
        self._give_up(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """A body that was refused unread is not waited for: the connection closes."""
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + 0.1))

    def murder_pending(self) -> None:
        """About once a second."""
        now = time.monotonic()
        for conn in [conn for conn, end in self._waiting.items() if end <= now]:
            if conn.begun:
                self._refuse(conn, 408, f"the request was not complete after {self._head_s:g} seconds")
            else:
                self._give_up(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """When the worker has been asked to end."""
        for conn, end in self._waiting.items():
            self._waiting[conn] = min(end, deadline)

    def _refuse(self, conn: TConn, status: int, detail: str) -> None:
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
        head = f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}"
        self._leave(conn)
        try:
            conn.sock.send(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            self._linger(conn)
        except OSError:  # the client has gone, or does not read
            self._close(conn)

    def _give_up_oldest(self) -> None:
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            self._give_up(oldest)

    def _give_up(self, conn: TConn) -> None:
        self._leave(conn)
        self._close(conn)

    def _leave(self, conn: TConn) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()
