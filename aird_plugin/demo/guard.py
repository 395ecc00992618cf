"""Who may ask the local page what, and how often: before anything of a request's body is read."""

import ipaddress
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit


class Refused(Exception):
    """An HTTP status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status = status


class Allowance:
    """So many questions at once, and so many a second after that, whoever asks. Threads may share it.

    burst: how many may have been saved up. per_second: how fast they come back. clock: seconds that only grow.
    """

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic):
        self.burst, self.per_second, self.clock = burst, per_second, clock
        self.left, self.then, self.lock = float(burst), clock(), threading.Lock()

    def take(self) -> None:
        """Use one up. Refused where none is left."""
        with self.lock:
            now = self.clock()
            self.left, self.then = min(self.burst, self.left + (now - self.then) * self.per_second), now
            if self.left < 1:
                told = f"too many questions; {self.per_second:g} a second are answered, wait a moment"
                raise Refused(HTTPStatus.TOO_MANY_REQUESTS, told)
            self.left -= 1


def check_host(host: str, own: str) -> None:
    """Refused unless the Host header is an address, localhost or the server's own name.

    A foreign name that a hostile DNS server points here (DNS rebinding) would make that page this one's origin.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name not in ("localhost", own):
            ipaddress.ip_address(name)
    except ValueError:
        raise Refused(HTTPStatus.FORBIDDEN, f"this page is not served under the name {host[:80]!r}") from None


def check_origin(headers) -> None:
    """Refused unless the request comes from the page that this server served."""
    same = headers.get("Origin") == f"http://{headers.get('Host')}"
    if not same or headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Refused(HTTPStatus.FORBIDDEN, "only the page that is served here may ask (Origin is not this server)")


def body_length(headers, limit: int) -> int:
    """The announced length. Refused where there is none, or more than the limit."""
    length = headers.get("Content-Length", "")
    if "Transfer-Encoding" in headers or not length:
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "a request says how long it is, with Content-Length")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise Refused(HTTPStatus.BAD_REQUEST, f"Content-Length is a number of bytes; got {length[:40]!r}")
    if int(length) > limit:
        told = f"at most {limit / 1e6:g} MB are taken; this has {int(length) / 1e6:.1f}"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
    return int(length)
