"""The server before clients that mean no good, through real sockets on 127.0.0.1."""

import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from aird_plugin.demo import server as module
from aird_plugin.demo.guard import Allowance
from aird_plugin.demo.server import DemoServer, Document, Question

LIMIT = 1000


class Oracle:
    """Answers with the length of what it was asked, and counts how many are before it at once."""

    def __init__(self):
        self.asked, self.inside, self.most, self.pause = [], 0, 0, 0.0

    def answer(self, payload: bytes) -> dict:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(self.pause)
        self.asked.append(payload)
        self.inside -= 1
        if payload == b"bad":
            raise ValueError("bad\nwords")
        if payload == b"bug":
            raise KeyError("bug")
        return {"length": len(payload)}


@pytest.fixture
def oracle():
    return Oracle()


@pytest.fixture
def serving(oracle):
    """A server on a free port, in a thread of its own."""
    with DemoServer("127.0.0.1", 0) as server:
        server.documents = {"/": Document("text/html; charset=utf-8", b"<p>page", "default-src 'self'")}
        server.questions = {"/ask": Question(LIMIT, oracle.answer)}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def request(serving, method: str, path: str, body=None, **headers):
    """(status, headers, body); a header of None is left out."""
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
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def raw(serving, sent: bytes) -> bytes:
    """Whatever comes back for these bytes, until the server hangs up."""
    with socket.create_connection(serving.server_address, timeout=20) as client:
        client.sendall(sent)
        return received(client)


def received(client) -> bytes:
    """Everything until the end; a server that leaves something unread may end with a reset."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            got += data
    return got


def complaint(body: bytes) -> str:
    said = json.loads(body)
    assert list(said) == ["error"] and "\n" not in said["error"] and said["error"]
    return said["error"]


def test_a_document_and_an_answer(serving, oracle):
    status, headers, body = request(serving, "GET", "/")
    assert (status, body) == (200, b"<p>page") and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == "default-src 'self'"
    status, headers, body = request(serving, "POST", "/ask", b"four", Sec_Fetch_Site="same-origin")
    assert (status, json.loads(body)) == (200, {"length": 4}) and oracle.asked == [b"four"]
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    for name, value in {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "aird"}.items():
        assert headers[name].strip() == value
    assert headers["Set-Cookie"] is None and headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/other"), ("GET", "/ask"), ("GET", "/../../etc/passwd"), ("GET", "/%2e%2e/%2e%2e/etc/passwd"), ("GET", "//etc"),
    ("GET", "/page.html"), ("GET", "/?x=1"), ("GET", "http://127.0.0.1/"), ("GET", "/\\..\\server.py"), ("POST", "/"),
    ("POST", "/ask/"),
])  # fmt: skip
def test_there_are_fixed_routes_and_nothing_else(serving, method, path, oracle):
    status, _, body = request(serving, method, path, b"x" if method == "POST" else None)
    assert status == 404 and "there is nothing of that name" in complaint(body) and not oracle.asked


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", None, "[", "127.0.0.1.io", "a@b"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_is_refused(serving, method, host, oracle):
    """DNS rebinding: the page of a name that now points here would be of one origin with this one."""
    path, sent = {"GET": ("/", None), "POST": ("/ask", b"")}[method]
    status, _, body = request(serving, method, path, sent, Host=host, Origin=f"http://{host}")
    assert status == 403 and "not served under the name" in complaint(body) and not oracle.asked


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "127.0.0.1"])
def test_addresses_and_localhost_are_served(serving, host):
    host = host.format(serving.server_address[1])
    assert request(serving, "POST", "/ask", b"x", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": None}, {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"},
])  # fmt: skip
def test_another_pages_question_is_refused(serving, headers, oracle):
    status, _, body = request(serving, "POST", "/ask", b"x", **headers)
    assert status == 403 and "only the page that is served here" in complaint(body) and not oracle.asked


@pytest.mark.parametrize(("headers", "status", "told"), [
    ({"Content_Length": str(10**12)}, 413, "at most 0.001 MB are taken; this has 1000000.0"),
    ({"Content_Length": "1001"}, 413, "at most"), ({"Content_Length": None}, 411, "Content-Length"),
    ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 411, "Content-Length"),
    ({"Content_Length": "4", "Transfer_Encoding": "chunked"}, 411, "Content-Length"),
    ({"Content_Length": "-1"}, 400, "number of bytes"),
    ({"Content_Length": "four"}, 400, "number of bytes"), ({"Content_Length": "9" * 5000}, 400, "number of bytes"),
    ({"Content_Length": "²"}, 400, "number of bytes"),
])  # fmt: skip
def test_a_body_is_judged_by_its_announced_length(serving, headers, status, told, oracle):
    """Of a terabyte that is announced no byte need come: the answer is there first."""
    got, _, body = request(serving, "POST", "/ask", b"", **headers)
    assert got == status and told in complaint(body) and not oracle.asked


def test_the_limit_itself_is_taken(serving):
    assert json.loads(request(serving, "POST", "/ask", b"x" * LIMIT)[2]) == {"length": LIMIT}


@pytest.mark.parametrize(("payload", "status", "told"), [(b"bad", 400, "bad words"), (b"bug", 500, "KeyError: 'bug'")])
def test_what_goes_wrong_is_one_sentence_and_the_server_goes_on(serving, payload, status, told):
    got, _, body = request(serving, "POST", "/ask", payload)
    assert got == status and complaint(body).startswith(told)
    assert request(serving, "POST", "/ask", b"x")[0] == 200


@pytest.mark.parametrize("sent", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"PUT / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    b"GET " + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
])  # fmt: skip
def test_what_is_no_request_is_answered_in_json_too(serving, sent):
    head, body = raw(serving, sent).split(b"\r\n\r\n", 1)
    assert head.split()[1].startswith((b"4", b"5")) and b"no-store" in head and complaint(body)
    assert request(serving, "GET", "/")[0] == 200


def ask(body: bytes, length: int) -> bytes:
    return b"POST /ask HTTP/1.0\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: %d\r\n\r\n" % length + body


def test_a_body_that_breaks_off_is_told(serving, oracle):
    with socket.create_connection(serving.server_address, timeout=20) as client:
        client.sendall(ask(b"half", 8))
        client.shutdown(socket.SHUT_WR)
        answer = received(client)
    assert b" 408 " in answer.split(b"\r\n")[0] and "broke off" in complaint(answer.split(b"\r\n\r\n")[1]) and not oracle.asked


@pytest.mark.parametrize(("deadline", "silence"), [(0.3, 20.0), (20.0, 0.3)])
def test_a_client_that_says_nothing_is_let_go(serving, deadline, silence, monkeypatch, oracle):
    monkeypatch.setattr(module, "DEADLINE", deadline)
    monkeypatch.setattr(module.Handler, "timeout", silence)
    assert raw(serving, b"") == b""
    assert b" 408 " in raw(serving, ask(b"half", 8)) and not oracle.asked


def test_a_client_that_drips_is_cut_off_by_the_deadline(serving, monkeypatch):
    """Each byte comes in time; all of them together do not."""
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


def test_one_question_at_a_time_is_before_the_networks(serving, oracle):
    oracle.pause = 0.03
    threads = [threading.Thread(target=request, args=(serving, "POST", "/ask", b"x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(oracle.asked) == 8 and oracle.most == 1


def test_questions_without_end_are_refused_and_answered_again_in_time(serving, oracle):
    now = [0.0]
    serving.allowance = Allowance(burst=3, per_second=2.0, clock=lambda: now[0])
    assert [request(serving, "POST", "/ask", b"x")[0] for _ in range(4)] == [200, 200, 200, 429]
    status, _, body = request(serving, "POST", "/ask", b"x")
    assert status == 429 and complaint(body) == "too many questions; 2 a second are answered, wait a moment"
    # Pages of others use nothing up, and documents are not counted.
    now[0] = 0.5
    assert request(serving, "POST", "/ask", b"x", Origin="http://elsewhere")[0] == 403
    assert request(serving, "GET", "/")[0] == 200
    assert [request(serving, "POST", "/ask", b"x")[0] for _ in range(2)] == [200, 429]
    now[0] = 1000.0
    assert [request(serving, "POST", "/ask", b"x")[0] for _ in range(4)] == [200, 200, 200, 429]
    assert len(oracle.asked) == 7


def test_clients_without_end_are_turned_away_and_places_come_back(serving):
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
        pytest.fail("no place came back")


def test_a_client_that_hangs_up_at_once_leaves_no_trace(serving, capfd):
    for _ in range(5):
        with socket.create_connection(serving.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(ask(b"x", 1))
    assert request(serving, "GET", "/")[0] == 200
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")


def test_the_address_reads_as_one_types_it(serving):
    assert serving.url == f"http://127.0.0.1:{serving.server_address[1]}/"
    with contextlib.suppress(OSError), DemoServer("::1", 0) as other:
        assert other.url == f"http://[::1]:{other.server_address[1]}/"
