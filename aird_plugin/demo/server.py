"""A small HTTP server for one page and its questions, on Python's own `http.server`: fixed routes, nothing written, nothing kept.

What it guards against: other web pages (Host and Origin are checked), large bodies (refused by their announced length, unread),
slow clients (a request must have arrived within DEADLINE seconds), many of them (at most CONNECTIONS at once), questions without
end (PER_SECOND of them, after a BURST), and two questions before the networks at the same time (a lock).
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

from aird_plugin.demo.guard import Allowance, Refused, body_length, check_host, check_origin
from aird_plugin.errors import describe

# Seconds within which a request must have arrived, and within which something of it must come.
DEADLINE, SILENCE = 30.0, 10.0
CONNECTIONS = 32
# A slider that is moved asks about as often as a screen is drawn anew.
BURST, PER_SECOND = 120, 30.0
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Document(NamedTuple):
    """What a GET gives. policy: its Content-Security-Policy."""

    kind: str
    body: bytes
    policy: str = "default-src 'none'"


class Question(NamedTuple):
    """What a POST asks: at most `limit` bytes, answered by a dict, for JSON. A ValueError is the asker's fault, and is told."""

    limit: int
    answer: Callable[[bytes], dict]


class DemoServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Documents and questions by path, to be filled in; port 0 takes a free one.

    Clients that come before `serve_forever` wait. Raises OSError where the address is taken, or not this machine's.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS
    # Elsewhere than on POSIX this would let two programs share a port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, host: str, port: int):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.documents: dict[str, Document] = {}
        self.questions: dict[str, Question] = {}
        self.host = host.lower()
        self.networks, self.places = threading.Lock(), threading.BoundedSemaphore(CONNECTIONS)
        self.allowance = Allowance(BURST, PER_SECOND)
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def process_request(self, request, client_address):
        """A thread for the request where there is a place, else a short no."""
        if self.places.acquire(blocking=False):
            return super().process_request(request, client_address)
        with contextlib.suppress(OSError):
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        """As inherited; the place is free afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request, client_address):
        """A client that breaks off is no news."""
        if os.environ.get("AIRD_DEBUG") == "1":
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request of one connection (HTTP/1.0: no other follows)."""

    server_version, sys_version = "aird", ""
    timeout = SILENCE
    server: DemoServer

    def setup(self):
        """As inherited, and from now on the clock runs."""
        super().setup()
        self.clock = threading.Timer(DEADLINE, self._stop_reading)
        self.clock.daemon = True
        self.clock.start()

    def finish(self):
        """As inherited."""
        self.clock.cancel()
        super().finish()

    def do_GET(self):
        """A document."""
        self._respond(self._document)

    def do_POST(self):
        """The answer to a question."""
        self._respond(self._answer)

    def send_error(self, code, message=None, explain=None):
        """What the base class refuses: as JSON, like everything else that goes wrong."""
        self._send(code, complaint(message or HTTPStatus(code).phrase))

    def log_message(self, format, *args):
        """Nothing about pictures or their senders is written anywhere."""

    def _respond(self, work: Callable[[], Document]):
        try:
            check_host(self.headers.get("Host", ""), self.server.host)
            status, document = HTTPStatus.OK, work()
        except Refused as refusal:
            status, document = refusal.status, complaint(str(refusal))
        # Whatever else goes wrong, the asker gets one sentence and the server goes on.
        except Exception as error:
            status = HTTPStatus.BAD_REQUEST if isinstance(error, ValueError) else HTTPStatus.INTERNAL_SERVER_ERROR
            document = complaint(describe(error))
            if os.environ.get("AIRD_DEBUG") == "1":
                traceback.print_exc()
        self._send(status, document)

    def _document(self) -> Document:
        if self.path not in self.server.documents:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing of that name here")
        return self.server.documents[self.path]

    def _answer(self) -> Document:
        if self.path not in self.server.questions:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing of that name to ask")
        check_origin(self.headers)
        self.server.allowance.take()
        question = self.server.questions[self.path]
        payload = self._read(body_length(self.headers, question.limit))
        with self.server.networks:
            return as_json(question.answer(payload))

    def _read(self, length: int) -> bytes:
        try:
            payload = self.rfile.read(length)
        except TimeoutError:
            payload = b""
        if len(payload) < length:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the request broke off, or took too long: {length} bytes were announced")
        return payload

    def _send(self, status: int, document: Document):
        # To a request of no version, or a broken one, the base class would answer without headers.
        self.request_version = self.protocol_version
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", document.policy)
        self.send_header("Content-Type", document.kind)
        self.send_header("Content-Length", str(len(document.body)))
        self.end_headers()
        self.wfile.write(document.body)

    def _stop_reading(self):
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)


def as_json(value: dict) -> Document:
    """A dict for a program."""
    return Document("application/json", json.dumps(value, allow_nan=False).encode())


def complaint(sentence: str) -> Document:
    """What went wrong, for a program to show."""
    return as_json({"error": sentence})
