"""`aird demo` as a user starts and ends it."""

import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aird_plugin.__main__ import main, parse
from aird_plugin.demo import command
from aird_plugin.models import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> str:
    """A small student of 16 px, and a teacher beside it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in ("native16_0.05m", "native112_0.05m"):
        torch.save(build(name, 8).state_dict(), folder / f"{name}.pt")
    return str(folder / "native16_0.05m.pt")


@pytest.fixture
def no_detector(monkeypatch, tmp_path):
    """No models of InsightFace's anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_it_serves_from_memory_until_ctrl_c(student, tmp_path):
    """Port 0, the address on the screen, nothing written anywhere, exit code 130."""
    command_line = [sys.executable, "-m", "aird_plugin", "demo", student, "--network", "native16_0.05m", "--port", "0"]
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def hear_ctrl_c():
        # A shell that starts the tests in the background has them, and whom they start, ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    running = subprocess.Popen(command_line, cwd=tmp_path, env=environment, preexec_fn=hear_ctrl_c, **pipes)
    try:
        told = running.stdout.readline() + (address := running.stdout.readline())
        assert "taken as aligned crops" in told and "(Ctrl-C ends it)" in told, running.communicate(timeout=60)
        host = address.split("/")[2]
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("GET", "/facts")
        facts = json.loads(connection.getresponse().read())
        picture = facts["examples"][0]
        body = json.dumps({"faces": [{"png": picture, "px": 112}] * 2, "px": 16, "degradation": "bicubic"})
        connection.request("POST", "/judgement", body, {"Origin": f"http://{host}"})
        said = json.loads(connection.getresponse().read())
        assert said["networks"][0]["cosine"] == pytest.approx(1, abs=1e-5)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
    assert running.communicate()[1] == "stopped\n"
    assert list(tmp_path.rglob("*")) == []


def test_a_port_that_is_taken_is_one_line(student, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["demo", student, "--network", "native16_0.05m", "--port", str(port)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: cannot listen on 127.0.0.1, port {port} (") and "--port 0" in told and told.count("\n") == 1


@pytest.mark.parametrize(("words", "told"), [
    (["nowhere"], "no model at nowhere"), (["{student}"], "is a native student: say which"),
    (["{student}", "--port", "99999"], "--port must lie between"),
    (["{student}", "--pairs", "none.bin"], "no pairs file at none.bin"),
    (["{student}", "--thresholds", "a", "--pairs", "b"], "one of the two"),
    (["{student}", "--thresholds", "none.json"], "no thresholds at none.json"),
    (["{student}", "--network", "native16_0.05m", "--teacher", "none.pt"], "no teacher at none.pt"),
    (["{student}", "--detector", "none.onnx"], "--detector none.onnx"),
    (["{student}", "--host", "256.0.0.1"], "cannot listen on 256.0.0.1"),
])  # fmt: skip
def test_bad_arguments_are_one_line(student, no_detector, words, told, capsys, monkeypatch):
    monkeypatch.delenv("AIRD_DEBUG", raising=False)
    assert main(["demo", "--port", "0", *(word.format(student=student) for word in words)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def test_thresholds_are_measured_for_both_networks(student, pairs_file, capsys, monkeypatch):
    from aird_plugin.export import thresholds

    monkeypatch.setattr(thresholds, "threshold_table", functools.partial(thresholds.threshold_table, sides=(16,)))
    mobile = Path(student).with_name("mbf.pt")
    torch.save(build("mbf", 8).state_dict(), mobile)
    args = parse(["demo", student, "--network", "native16_0.05m", "--teacher", str(mobile), "--pairs", pairs_file])
    networks = command.open_networks(args, "cpu")
    assert [network.name for network in networks] == ["teacher", "student"]
    assert all(network.thresholds["rows"][0]["points"][0]["n_impostor"] == 20 for network in networks)
    told = capsys.readouterr().out
    assert "measuring the teacher's thresholds" in told and "measuring the student's thresholds" in told


def test_a_file_of_thresholds_is_the_students(student, tmp_path):
    points = [{"far": 0.1, "cosine": 0.5, "n_impostor": 100}]
    table = {"pairs": "p.bin", "degradation": "blur", "rows": [{"px": 16, "points": points}]}
    (tmp_path / "thresholds.json").write_text(json.dumps(table))
    mobile = Path(student).with_name("mbf.pt")
    torch.save(build("mbf", 8).state_dict(), mobile)
    words = ["--network", "native16_0.05m", "--teacher", str(mobile), "--thresholds", str(tmp_path / "thresholds.json")]
    assert [network.thresholds for network in command.open_networks(parse(["demo", student, *words]), "cpu")] == [None, table]


def test_the_page_runs_its_own_script_and_style_alone():
    html, policy = command.page()
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy and "http" not in policy
    text = html.decode()
    assert " style=" not in text and " onclick=" not in text and "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(("host", "alone"), [
    ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("192.168.1.2", False),
    ("::", False), ("example.org", False),
])  # fmt: skip
def test_who_can_reach_an_address(host, alone):
    assert command.is_loopback(host) is alone


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_more_than_this_machine_is_warned_of(student, no_detector, host, warned, capsys, monkeypatch):
    from aird_plugin.demo.server import DemoServer

    monkeypatch.setattr(DemoServer, "serve_forever", lambda server: None)
    assert main(["demo", student, "--network", "native16_0.05m", "--port", "0", "--host", host]) == 0
    assert (f"warning: --host {host}: who can reach this machine" in capsys.readouterr().err) is warned
