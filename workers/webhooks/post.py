"""An HTTP POST to an address that a user has named: bounded in time and size, and to public addresses only.

The name is resolved once, and the connection goes to exactly the address that was checked: a name that answers with
another address the next time (DNS rebinding) leads nowhere else. Redirects are not followed, and no proxy is used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

from leym.common.addresses import is_public

ANSWER_BYTES = 64 * 1024  # of the answer's body that are read
SHOWN = 200  # characters of an error


class Refused(Exception):  # noqa: N818 - the request was refused, not a fault
    """The URL leads to an address that must not be called."""


def post(url: str, body: bytes, headers: dict[str, str], *, timeout_s: float, allow_private: bool) -> int:
    """Send a POST and return the status of the answer.

    Args:
        url: http or https.
        body: the bytes to send.
        headers: further headers.
        timeout_s: longest time of the whole exchange after the name was resolved.
        allow_private: True to call addresses that are not public, too.

    Raises:
        Refused: no address of the host may be called.
        OSError: the host is unknown, does not answer in time, or its certificate is not valid.
        http.client.HTTPException: the answer is not HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    until = time.monotonic() + timeout_s
    connected = _connect(addresses(host, port, allow_private), port, until)
    if secure:
        connected = ssl.create_default_context().wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
    # a peer that sends a byte now and then keeps every single read within its time-out
    expired = threading.Event()
    watch = threading.Timer(max(until - time.monotonic(), 0.0), _shut, (connected, expired))
    watch.daemon = True
    watch.start()
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    connection.default_port = 443 if secure else 80  # which the header Host leaves out
    try:
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection.sock = connected
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        answer = connection.getresponse()
        if expired.is_set():  # a head that was cut off looks like a short one
            raise TimeoutError
        answer.read(ANSWER_BYTES)
        return answer.status
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set():
            raise TimeoutError(f"no complete answer within {timeout_s:g} s") from error
        raise
    finally:
        watch.cancel()
        connection.close()
        connected.close()


def addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """Resolve a host, and return its addresses that may be called.

    Raises:
        Refused: there are addresses, and none may be called.
        OSError: the host is unknown.
    """
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    found = list(dict.fromkeys(found))
    allowed = [one for one in found if allow_private or is_public(ip_address(one.partition("%")[0]))]
    if not allowed:
        raise Refused(f"{host} leads to {found[0]}, which is no public address; LEYM_WEBHOOK_PRIVATE = 1 permits it")
    return allowed


def _connect(found: list[str], port: int, until: float) -> socket.socket:
    """Connect to the first address that answers."""
    error: OSError = TimeoutError("no time is left to connect")
    for one in found:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            connected = socket.create_connection((one, port), left)
        except OSError as failed:
            error = failed
        else:
            connected.settimeout(max(until - time.monotonic(), 0.001))
            return connected
    raise error


def _shut(connected: socket.socket, expired: threading.Event) -> None:
    expired.set()
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
