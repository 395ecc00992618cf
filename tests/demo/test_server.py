"""The server against misbehaving clients, over real sockets on 127.0.0.1."""

import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from aird_plugin.demo import server as module
from aird_plugin.demo.limits import RateLimiter
from aird_plugin.demo.server import DemoServer, Document, Endpoint

LIMIT = 1000


class EndpointStub:
    """Returns the length of the payload and counts concurrent calls."""

    def __init__(self):
        self.payloads, self.active, self.max_active, self.pause = [], 0, 0, 0.0

    def handle(self, payload: bytes) -> dict:
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        time.sleep(self.pause)
        self.payloads.append(payload)
        self.active -= 1
        if payload == b"bad":
            raise ValueError("bad\nwords")
        if payload == b"bug":
            raise KeyError("bug")
        return {"length": len(payload)}


@pytest.fixture
def stub():
    return EndpointStub()


@pytest.fixture
def serving(stub):
    """A server on a free port, in its own thread."""
    with DemoServer("127.0.0.1", 0) as server:
        server.documents = {"/": Document("text/html; charset=utf-8", b"<p>page", "default-src 'self'")}
        server.endpoints = {"/endpoint": Endpoint(LIMIT, stub.handle)}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def request(serving, method: str, path: str, body=None, **headers):
    """Returns (status, headers, body). A header of None is omitted."""
    host = f"127.0.0.1:{serving.server_address[1]}"
    headers = {"Host": host, "Origin": f"http://{host}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers.setdefault("Content-Length", str(len(body)))
    connection = http.client.HTTPConnection(*serving.server_address, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def raw(serving, sent: bytes) -> bytes:
    """All bytes the server sends in response, until it closes the connection."""
    with socket.create_connection(serving.server_address, timeout=20) as client:
        client.sendall(sent)
        return received(client)


def received(client) -> bytes:
    """All bytes until the end; a server that leaves input unread may reset the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            data += chunk
    return data


def error_of(body: bytes) -> str:
    response = json.loads(body)
    assert list(response) == ["error"] and "\n" not in response["error"] and response["error"]
    return response["error"]


def test_document_and_endpoint_respond(serving, stub):
    status, headers, body = request(serving, "GET", "/")
    assert (status, body) == (200, b"<p>page") and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == "default-src 'self'"
    status, headers, body = request(serving, "POST", "/endpoint", b"four", Sec_Fetch_Site="same-origin")
    assert (status, json.loads(body)) == (200, {"length": 4}) and stub.payloads == [b"four"]
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    for name, value in {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "aird"}.items():
        assert headers[name].strip() == value
    assert headers["Set-Cookie"] is None and headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/other"),
        ("GET", "/endpoint"),
        ("GET", "/../../etc/passwd"),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "//etc"),
        ("GET", "/page.html"),
        ("GET", "/?x=1"),
        ("GET", "http://127.0.0.1/"),
        ("GET", "/\\..\\server.py"),
        ("POST", "/"),
        ("POST", "/endpoint/"),
    ],
)
def test_unknown_path_is_not_found(serving, method, path, stub):
    status, _, body = request(serving, method, path, b"x" if method == "POST" else None)
    assert status == 404 and "no such " in error_of(body) and not stub.payloads


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", None, "[", "127.0.0.1.io", "a@b"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign_host_is_refused(serving, method, host, stub):
    """DNS rebinding: a page of a foreign name that resolves to this machine would share this origin."""
    path, sent = {"GET": ("/", None), "POST": ("/endpoint", b"")}[method]
    status, _, body = request(serving, method, path, sent, Host=host, Origin=f"http://{host}")
    assert status == 403 and "is not allowed; use localhost" in error_of(body) and not stub.payloads


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "127.0.0.1"])
def test_addresses_and_localhost_are_served(serving, host):
    host = host.format(serving.server_address[1])
    assert request(serving, "POST", "/endpoint", b"x", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
    ],
)
def test_cross_origin_request_is_refused(serving, headers, stub):
    status, _, body = request(serving, "POST", "/endpoint", b"x", **headers)
    assert status == 403 and "only the page of this server" in error_of(body) and not stub.payloads


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Content_Length": str(10**12)}, 413, "the request has 1000000.0 MB; the limit is 0.001 MB"),
        ({"Content_Length": "1001"}, 413, "the limit is"),
        ({"Content_Length": None}, 411, "Content-Length"),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 411, "Content-Length"),
        ({"Content_Length": "4", "Transfer_Encoding": "chunked"}, 411, "Content-Length"),
        ({"Content_Length": "-1"}, 400, "number of bytes"),
        ({"Content_Length": "four"}, 400, "number of bytes"),
        ({"Content_Length": "9" * 5000}, 400, "number of bytes"),
        ({"Content_Length": "²"}, 400, "number of bytes"),
    ],
)
def test_body_is_refused_by_content_length(serving, headers, status, message, stub):
    """The server responds to an announced terabyte before any byte of it arrives."""
    response_status, _, body = request(serving, "POST", "/endpoint", b"", **headers)
    assert response_status == status and message in error_of(body) and not stub.payloads


def test_body_of_the_limit_is_accepted(serving):
    assert json.loads(request(serving, "POST", "/endpoint", b"x" * LIMIT)[2]) == {"length": LIMIT}


@pytest.mark.parametrize(("payload", "status", "message"), [(b"bad", 400, "bad words"), (b"bug", 500, "KeyError: 'bug'")])
def test_handler_error_is_one_line_and_the_server_continues(serving, payload, status, message):
    response_status, _, body = request(serving, "POST", "/endpoint", payload)
    assert response_status == status and error_of(body).startswith(message)
    assert request(serving, "POST", "/endpoint", b"x")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT / HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET " + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
def test_malformed_request_gets_a_json_error(serving, sent):
    head, body = raw(serving, sent).split(b"\r\n\r\n", 1)
    assert head.split()[1].startswith((b"4", b"5")) and b"no-store" in head and error_of(body)
    assert request(serving, "GET", "/")[0] == 200


def post(body: bytes, length: int) -> bytes:
    return b"POST /endpoint HTTP/1.0\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: %d\r\n\r\n" % length + body


def test_incomplete_body_is_refused(serving, stub):
    with socket.create_connection(serving.server_address, timeout=20) as client:
        client.sendall(post(b"half", 8))
        client.shutdown(socket.SHUT_WR)
        response = received(client)
    head, body = response.split(b"\r\n\r\n")
    assert b" 408 " in head.split(b"\r\n")[0] and "got 4 of 8 bytes" in error_of(body) and not stub.payloads


@pytest.mark.parametrize(("deadline", "read_timeout"), [(0.3, 20.0), (20.0, 0.3)])
def test_silent_client_is_disconnected(serving, deadline, read_timeout, monkeypatch, stub):
    monkeypatch.setattr(module, "DEADLINE", deadline)
    monkeypatch.setattr(module.Handler, "timeout", read_timeout)
    assert raw(serving, b"") == b""
    assert b" 408 " in raw(serving, post(b"half", 8)) and not stub.payloads


def test_slow_client_is_disconnected_at_the_deadline(serving, monkeypatch):
    """Each byte arrives within the read timeout, the whole request not within the deadline."""
    monkeypatch.setattr(module, "DEADLINE", 0.5)
    started = time.monotonic()
    with socket.create_connection(serving.server_address, timeout=20) as client:
        client.sendall(b"GET / HTTP/1.0\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() < started + 10:
                client.sendall(b"A: b\r\n")
                client.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if client.recv(1) in (b"", b"H"):
                        break
    assert time.monotonic() < started + 8


def test_endpoints_run_one_request_at_a_time(serving, stub):
    stub.pause = 0.03
    threads = [threading.Thread(target=request, args=(serving, "POST", "/endpoint", b"x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stub.payloads) == 8 and stub.max_active == 1


def test_rate_limit_refuses_and_recovers(serving, stub):
    now = [0.0]
    serving.rate_limiter = RateLimiter(burst=3, per_second=2.0, clock=lambda: now[0])
    assert [request(serving, "POST", "/endpoint", b"x")[0] for _ in range(4)] == [200, 200, 200, 429]
    status, _, body = request(serving, "POST", "/endpoint", b"x")
    assert status == 429 and error_of(body) == "too many requests; the limit is 2 per second, wait a moment"
    # Cross-origin requests and documents take no token.
    now[0] = 0.5
    assert request(serving, "POST", "/endpoint", b"x", Origin="http://elsewhere")[0] == 403
    assert request(serving, "GET", "/")[0] == 200
    assert [request(serving, "POST", "/endpoint", b"x")[0] for _ in range(2)] == [200, 429]
    now[0] = 1000.0
    assert [request(serving, "POST", "/endpoint", b"x")[0] for _ in range(4)] == [200, 200, 200, 429]
    assert len(stub.payloads) == 7


def test_connection_limit_refuses_and_recovers(serving):
    port = serving.server_address
    idle = [socket.create_connection(port, timeout=20) for _ in range(module.CONNECTIONS)]
    assert raw(serving, b"").startswith(b"HTTP/1.0 503 ")
    for client in idle:
        client.close()
    for _ in range(100):
        with contextlib.suppress(OSError):
            if request(serving, "GET", "/")[0] == 200:
                break
        time.sleep(0.05)
    else:
        pytest.fail("no connection slot was released")


def test_connections_for_which_no_thread_starts_are_refused_and_hold_no_slot(serving, monkeypatch):
    start = threading.Thread.start
    monkeypatch.setattr(module, "CONNECTIONS", 2)
    serving.slots = threading.BoundedSemaphore(2)

    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    for _ in range(3):
        assert request(serving, "GET", "/")[0] == 503
    monkeypatch.setattr(threading.Thread, "start", start)
    assert request(serving, "GET", "/")[0] == 200


def test_reset_connection_prints_nothing(serving, capfd):
    for _ in range(5):
        with socket.create_connection(serving.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(post(b"x", 1))
    assert request(serving, "GET", "/")[0] == 200
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")


def test_url_of_ipv4_and_ipv6(serving):
    assert serving.url == f"http://127.0.0.1:{serving.server_address[1]}/"
    with contextlib.suppress(OSError), DemoServer("::1", 0) as other:
        assert other.url == f"http://[::1]:{other.server_address[1]}/"
