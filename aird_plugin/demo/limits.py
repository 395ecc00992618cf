"""Checks of a request before its body is read: host, origin, rate and length."""

import ipaddress
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit


class RequestError(Exception):
    """A request is refused with an HTTP status and a message of one line."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class RateLimiter:
    """Token bucket for all clients together. Thread-safe.

    burst: capacity of the bucket. per_second: refill rate. clock: monotonic seconds.
    """

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic):
        self.burst, self.per_second, self.clock = burst, per_second, clock
        self.tokens, self.updated, self.lock = float(burst), clock(), threading.Lock()

    def take(self) -> None:
        """Take one token. Raises RequestError (429) if the bucket is empty."""
        with self.lock:
            now = self.clock()
            self.tokens, self.updated = min(self.burst, self.tokens + (now - self.updated) * self.per_second), now
            if self.tokens < 1:
                message = f"too many requests; the limit is {self.per_second:g} per second, wait a moment"
                raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, message)
            self.tokens -= 1


def check_host(host: str, own: str) -> None:
    """Raise RequestError (403) unless the Host header is an IP address, localhost or the server's own name.

    This prevents DNS rebinding: a foreign name that resolves to this machine would share the origin of this page.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name not in ("localhost", own):
            ipaddress.ip_address(name)
    except ValueError:
        message = f"host {host[:80]!r} is not allowed; use localhost or the IP address"
        raise RequestError(HTTPStatus.FORBIDDEN, message) from None


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise RequestError (403) unless the request comes from the page of this server."""
    same = headers.get("Origin") == f"http://{headers.get('Host')}"
    if not same or headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise RequestError(HTTPStatus.FORBIDDEN, "cross-origin request; only the page of this server may send requests")


def body_length(headers: Mapping[str, str], limit: int) -> int:
    """The Content-Length. Raises RequestError if it is missing, malformed or above the limit."""
    length = headers.get("Content-Length", "")
    if "Transfer-Encoding" in headers or not length:
        raise RequestError(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length; send one")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"Content-Length must be a number of bytes, got {length[:40]!r}")
    if int(length) > limit:
        message = f"the request has {int(length) / 1e6:.1f} MB; the limit is {limit / 1e6:g} MB"
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
    return int(length)
