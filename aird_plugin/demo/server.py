"""HTTP server for the demo page and its endpoints, on Python's own `http.server`: fixed routes, nothing written or stored.

Protections: other web pages (Host and Origin are checked), large bodies (refused by Content-Length, unread), slow clients (a
request must arrive within DEADLINE seconds), many clients (at most CONNECTIONS at once), request floods (PER_SECOND, after a
BURST), and concurrent inference (a lock).
"""

import contextlib
import json
import os
import socket
import socketserver
import threading
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from aird_plugin.demo.limits import RateLimiter, RequestError, body_length, check_host, check_origin
from aird_plugin.utils.errors import describe

# Seconds until a request must be complete, and the longest pause between two reads.
DEADLINE, READ_TIMEOUT = 30.0, 10.0
CONNECTIONS = 32
# A moving slider sends about one request per screen refresh.
BURST, PER_SECOND = 120, 30.0
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Document(NamedTuple):
    """The response to a GET. policy: its Content-Security-Policy."""

    kind: str
    body: bytes
    policy: str = "default-src 'none'"


class Endpoint(NamedTuple):
    """Handles a POST of at most `limit` bytes and returns a dict for JSON. A ValueError becomes status 400 with its message."""

    limit: int
    handle: Callable[[bytes], dict]


class DemoServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves `documents` and `endpoints` by path, both empty at first; port 0 picks a free one.

    A document may be a function that makes it. Without any endpoint, requests are refused with 503: the models are being loaded.
    Clients that connect before `serve_forever` wait. Raises OSError if the address is in use or does not belong to this machine.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS
    # On other systems than POSIX, two programs could share the port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, host: str, port: int):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.documents: dict[str, Document | Callable[[], Document]] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.host = host.lower()
        self.inference_lock, self.slots = threading.Lock(), threading.BoundedSemaphore(CONNECTIONS)
        self.rate_limiter = RateLimiter(BURST, PER_SECOND)
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def process_request(self, request, client_address):
        """Start a thread for the request if a connection slot is free and the system has one, else respond with 503."""
        if self.slots.acquire(blocking=False):
            try:
                return super().process_request(request, client_address)
            except RuntimeError:
                # No thread could start, which would release the slot.
                self.slots.release()
        with contextlib.suppress(OSError):
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        """As inherited; then release the connection slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request, client_address):
        """Ignore broken connections unless AIRD_DEBUG=1."""
        if os.environ.get("AIRD_DEBUG") == "1":
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Handles one request per connection (HTTP/1.0)."""

    server_version, sys_version = "aird", ""
    timeout = READ_TIMEOUT
    server: DemoServer

    def setup(self):
        """As inherited; then start the deadline timer."""
        super().setup()
        self.timer = threading.Timer(DEADLINE, self._stop_reading)
        self.timer.daemon = True
        self.timer.start()

    def finish(self):
        """As inherited; stops the deadline timer first."""
        self.timer.cancel()
        super().finish()

    def do_GET(self):
        """Send a document."""
        self._respond(self._document)

    def do_POST(self):
        """Send the response of an endpoint."""
        self._respond(self._endpoint_response)

    def send_error(self, code, message=None, explain=None):
        """Send errors of the base class as JSON, like all other errors."""
        self._send(code, error_document(message or HTTPStatus(code).phrase))

    def log_message(self, format, *args):
        """Requests are not logged."""

    def _respond(self, make_document: Callable[[], Document]) -> None:
        try:
            check_host(self.headers.get("Host", ""), self.server.host)
            status, document = HTTPStatus.OK, make_document()
        except RequestError as error:
            status, document = error.status, error_document(str(error))
        # Any other error becomes a one-line response, and the server continues.
        except Exception as error:
            status = HTTPStatus.BAD_REQUEST if isinstance(error, ValueError) else HTTPStatus.INTERNAL_SERVER_ERROR
            document = error_document(describe(error))
            if os.environ.get("AIRD_DEBUG") == "1":
                traceback.print_exc()
        self._send(status, document)

    def _document(self) -> Document:
        if self.path not in self.server.documents:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no such document; documents: {', '.join(self.server.documents)}")
        document = self.server.documents[self.path]
        return document if isinstance(document, Document) else document()

    def _endpoint_response(self) -> Document:
        if not self.server.endpoints:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the models are being loaded; try again in a moment")
        if self.path not in self.server.endpoints:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no such endpoint; endpoints: {', '.join(self.server.endpoints)}")
        check_origin(self.headers)
        self.server.rate_limiter.take()
        endpoint = self.server.endpoints[self.path]
        payload = self._read(body_length(self.headers, endpoint.limit))
        with self.server.inference_lock:
            return as_json(endpoint.handle(payload))

    def _read(self, length: int) -> bytes:
        try:
            payload = self.rfile.read(length)
        except TimeoutError:
            payload = b""
        if len(payload) < length:
            message = f"got {len(payload)} of {length} bytes; the request is incomplete or too slow"
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, message)
        return payload

    def _send(self, status: int, document: Document) -> None:
        # The base class sends no headers for a request with no version or a broken one.
        self.request_version = self.protocol_version
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", document.policy)
        self.send_header("Content-Type", document.kind)
        self.send_header("Content-Length", str(len(document.body)))
        self.end_headers()
        self.wfile.write(document.body)

    def _stop_reading(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)


def as_json(value: dict) -> Document:
    """A dict as a JSON document."""
    return Document("application/json", json.dumps(value, allow_nan=False).encode())


def error_document(message: str) -> Document:
    """An error message as a JSON document."""
    return as_json({"error": message})
