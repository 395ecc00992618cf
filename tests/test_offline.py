"""Nothing leaves this machine at run time: with the network cut off, quickstart to report succeed and attempt no connection.

Two checks. An audit hook in every Python process (offline/sitecustomize.py) logs look-ups of and connections to foreign hosts.
A network namespace without any interface, where the system allows one, also blocks code that is not Python.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import needs

ROOT = Path(__file__).parents[1]
HOOK = Path(__file__).with_name("offline")
NAMESPACE = ["unshare", "--map-root-user", "--net"]


def may_unshare() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def cut_off(words: list, log: Path, cut: list[str]) -> subprocess.CompletedProcess:
    """Run Python with these words, without a network; log: file of the attempts."""
    outside = {"PYTHONPATH": os.pathsep.join((str(HOOK), str(ROOT))), "AIRD_OFFLINE_LOG": str(log)}
    words = [*cut, sys.executable, *map(str, words)]
    return subprocess.run(words, cwd=ROOT, env=os.environ | outside, capture_output=True, text=True)


def test_quickstart_evaluate_export_and_report_open_no_connection(tmp_path):
    needs("onnxruntime")
    done = cut_off([HOOK / "walk.py", tmp_path], tmp_path / "log", NAMESPACE if may_unshare() else [])
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "log").exists(), (tmp_path / "log").read_text()
    for made in ("quickstart/model.pt", "rows.json", "report.html"):
        assert (tmp_path / made).stat().st_size
    assert list((tmp_path / "onnx").rglob("*.onnx"))


CALLS = {
    "connect": "import socket; socket.socket().connect(('192.0.2.1', 80))",
    "IPv6": "import socket; socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
    "datagram": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "look-up": "import socket; socket.getaddrinfo('example.invalid', 80)",
    "library": "import urllib.request; urllib.request.urlopen('http://example.invalid/')",
}


@pytest.mark.parametrize("inside", [False, True], ids=["itself", "its-child"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_connection_attempts_are_detected(call, inside, tmp_path):
    """Even where the caller suppresses the error."""
    quiet = f"import contextlib\nwith contextlib.suppress(Exception):\n    {call}"
    if inside:
        quiet = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {quiet!r}], check=True)"
    assert cut_off(["-c", quiet], tmp_path / "log", []).returncode == 0
    assert "socket." in (tmp_path / "log").read_text()


def test_local_sockets_are_allowed(tmp_path):
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname());"
        "socket.getaddrinfo('localhost', 80); a, b = socket.socketpair(); a.send(b'x')"
    )
    done = cut_off(["-c", code], tmp_path / "log", [])
    assert done.returncode == 0 and not (tmp_path / "log").exists(), done.stderr


@pytest.mark.skipif(not may_unshare(), reason="no permission for a network namespace")
def test_namespace_has_no_network_interface(tmp_path):
    """This also blocks code that is not Python."""
    code = "print([line.split(':')[0].strip() for line in open('/proc/self/net/dev').readlines()[2:]])"
    done = cut_off(["-c", code], tmp_path / "log", NAMESPACE)
    assert set(ast.literal_eval(done.stdout)) <= {"lo", "sit0", "tunl0", "ip6tnl0"}, done.stdout + done.stderr
