"""`aird demo` from the command line, and the application behind it."""

import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.demo import app, loading
from aird_plugin.demo.background import Background
from aird_plugin.demo.page_document import page
from aird_plugin.models import build
from aird_plugin.models.load import load_teacher
from aird_plugin.utils.files import file_sha256

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> str:
    """A small student of 16 px, and a teacher in the same folder."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in ("native16_0.05m", "native112_0.05m"):
        torch.save(build(name, 8).state_dict(), folder / f"{name}.pt")
    return str(folder / "native16_0.05m.pt")


@pytest.fixture
def no_detector(monkeypatch, tmp_path):
    """No InsightFace models."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_demo_serves_from_memory_until_ctrl_c(student, pairs_file, tmp_path):
    """Port 0; the page is served before the models are loaded, no file is written, the exit code is 130."""
    command_line = [sys.executable, "-m", "aird_plugin", "demo", student, "--network", "native16_0.05m", "--port", "0"]
    command_line += ["--pairs", pairs_file]
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def restore_sigint():
        # A shell that starts the tests in the background makes them and their children ignore SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command_line, cwd=tmp_path, env=environment, preexec_fn=restore_sigint, **pipes)
    try:
        address = process.stdout.readline()
        assert "(press Ctrl-C to stop)" in address, process.communicate(timeout=60)
        host = address.split("/")[2]

        def get(path: str, method="GET", *sent) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(host, timeout=60)
            connection.request(method, path, *sent)
            response = connection.getresponse()
            return response.status, response.read()

        # torch takes a second or more to import: the page answers first.
        assert get("/")[0] == 200 and json.loads(get("/progress")[1])["ready"] is False
        status, error = get("/face", "POST", b"x", {"Origin": f"http://{host}"})
        assert status == 503 and b"being loaded" in error
        while not (state := json.loads(get("/progress")[1]))["ready"] or state["task"]:
            time.sleep(0.05)
        assert (state["changes"], state["step"], state["steps"], state["problem"]) == (1, 6, 6, "")
        info = json.loads(get("/info")[1])
        assert info["pairs"] == "pairs.bin" and info["photo"] is None
        image = info["examples"][0]
        body = json.dumps({"faces": [{"png": image, "px": 112}] * 2, "px": 16, "degradation": "bicubic"})
        response = json.loads(get("/comparison", "POST", body, {"Origin": f"http://{host}"})[1])
        assert response["networks"][0]["cosine"] == pytest.approx(1, abs=1e-5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert process.communicate()[1] == "stopped\n"
    assert list(tmp_path.rglob("*")) == []


def test_port_in_use_is_reported_in_one_line(student, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["demo", student, "--network", "native16_0.05m", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith(f"error: cannot listen on 127.0.0.1, port {port} (") and "--port 0" in error and error.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no model at nowhere"),
        (["{student}"], "is a native student: set network="),
        (["{student}", "--port", "99999"], "--port must be between"),
        (["{student}", "--pairs", "none.bin"], "no pairs file at none.bin"),
        (["{student}", "--thresholds", "a", "--pairs", "b"], "one of the two"),
        (["{student}", "--thresholds", "none.json"], "no thresholds at none.json"),
        (["{student}", "--network", "native16_0.05m", "--teacher", "none.pt"], "no teacher at none.pt"),
        (["{student}", "--detector", "none.onnx"], "--detector none.onnx"),
        (["{student}", "--host", "256.0.0.1"], "cannot listen on 256.0.0.1"),
    ],
)
def test_bad_arguments_are_reported_in_one_line(student, no_detector, arguments, message, capsys, monkeypatch):
    monkeypatch.delenv("AIRD_DEBUG", raising=False)
    assert main(["demo", "--port", "0", *(argument.format(student=student) for argument in arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_thresholds_are_measured_for_all_networks_and_photos(pack, pairs_file, monkeypatch):
    monkeypatch.setattr(loading, "threshold_table", functools.partial(loading.threshold_table, sides=(16,)))
    monkeypatch.setattr(loading, "measure_crops", functools.partial(loading.measure_crops, sides=(16,)))
    files = {"teacher": str(pack / "hr.onnx"), "detector": str(pack / "det_markers.onnx")}
    options, lines = app.DemoOptions(str(pack / "tiny"), pairs=pairs_file, **files), []
    api = loading.load(options, lines.append)
    assert [network.name for network in api.networks] == ["teacher", "student"]
    assert not any(network.thresholds for network in api.networks)
    before = api.photo.analysis.calibration
    background = Background(app.bind("127.0.0.1", 0), print)
    with background.server as server:
        loading.measure(api, pairs_file, server.inference_lock, background, lines.append)
    assert background.state["changes"] == 3
    assert all(network.thresholds["rows"][0]["points"][0]["n_impostor"] == 20 for network in api.networks)
    assert api.photo.analysis.calibration is not before and len(api.photo.analysis.calibration.rows) == 4
    assert [line.partition(" on ")[0] for line in lines[1:]] == [
        "measuring thresholds for photos",
        "measuring the student's thresholds",
        "measuring the teacher's thresholds",
    ]


def test_thresholds_file_belongs_to_the_student(student, tmp_path):
    points = [{"far": 0.1, "cosine": 0.5, "n_impostor": 100}]
    table = {"pairs": "p.bin", "degradation": "blur", "rows": [{"px": 16, "points": points}]}
    (tmp_path / "thresholds.json").write_text(json.dumps(table))
    mobile = Path(student).with_name("mbf.pt")
    torch.save(build("mbf", 8).state_dict(), mobile)
    options = app.DemoOptions(student, "native16_0.05m", teacher=str(mobile), thresholds=tmp_path / "thresholds.json")
    assert [network.thresholds for network in loading.load_networks(options, "cpu", print)] == [None, table]


def test_thresholds_file_of_another_model_is_refused(student, no_detector, tmp_path, capsys):
    points = [{"far": 0.1, "cosine": 0.5, "n_impostor": 100}]
    table = {"pairs": "p.bin", "degradation": "blur", "rows": [{"px": 16, "points": points}], "weights": "0" * 64}
    (tmp_path / "thresholds.json").write_text(json.dumps(table))
    words = ["demo", student, "--network", "native16_0.05m", "--thresholds", str(tmp_path / "thresholds.json"), "--port", "0"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "thresholds.json belongs to another model" in error and error.count("\n") == 1


def test_other_teacher_than_the_runs_is_logged(student, tmp_path):
    shutil.copy(student, tmp_path / "model.pt")
    other = Path(student).with_name("native112_0.05m.pt")
    options = app.DemoOptions(str(tmp_path), teacher=str(other))
    for sha256, expected in ((file_sha256(other), []), ("0" * 64, [f"WARNING {other} is not the teacher that {tmp_path} was"])):
        recipe = {"network": "native16_0.05m", "teacher": {"sha256": sha256, "file": "t.pt"}}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        lines = []
        load = functools.partial(load_teacher, network="native112_0.05m")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loading, "load_teacher", load)
            loading.load_networks(options, "cpu", lines.append)
        assert [line[: len(want)] for line, want in zip(lines, expected, strict=True)] == expected


def test_policy_allows_only_the_inline_script_and_style():
    html, policy = page()
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy and "http" not in policy
    text = html.decode()
    assert " style=" not in text and " onclick=" not in text and "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.2", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_is_loopback(host, loopback):
    assert app.is_loopback(host) is loopback


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_public_host_is_warned_about(student, no_detector, host, warned, capsys, monkeypatch):
    from aird_plugin.demo.server import DemoServer

    monkeypatch.setattr(DemoServer, "serve_forever", lambda server: None)
    assert main(["demo", student, "--network", "native16_0.05m", "--port", "0", "--host", host]) == 0
    assert (f"WARNING --host {host}: other machines can open the page" in capsys.readouterr().err) is warned
