"""The thread behind the page: progress, errors, requests first, and its end."""

import json
import threading

import pytest

from aird_plugin.demo.background import Background
from aird_plugin.demo.server import DemoServer
from aird_plugin.utils.progress import progress


@pytest.fixture
def server():
    with DemoServer("127.0.0.1", 0) as server:
        yield server


def state(background) -> dict:
    return json.loads(background.document().body)


def serve(server, background) -> None:
    """As the command does, for work that ends by itself or stops the server."""
    with background:
        server.serve_forever(0.01)


def test_progress_of_every_bar_is_reported(server):
    seen = []

    def work(background):
        for _ in progress("ab", 2, "enrolling"):
            seen.append(state(background))
        background.report_ready()
        background.report_steps(2)
        for label in ("16 px", "24 px"):
            background.report_task("measuring")
            for _ in progress([range(3), range(3, 4)], 4, label):
                seen.append(state(background))
            background.report_change()
        raise ValueError("too few\npairs")

    background = Background(server, work)
    assert state(background)["task"] == "loading the models"
    with background:
        background.thread.join(10)
    keys = ("ready", "task", "done", "total", "step", "steps", "changes")
    assert [tuple(one[key] for key in keys) for one in seen] == [
        (False, "enrolling", 0, 2, 1, 0, 0),
        (False, "enrolling", 1, 2, 1, 0, 0),
        (True, "measuring", 0, 4, 1, 2, 0),
        (True, "measuring", 3, 4, 1, 2, 0),
        (True, "measuring", 0, 4, 2, 2, 1),
        (True, "measuring", 3, 4, 2, 2, 1),
    ]
    end = state(background)
    assert end["task"] == "" and end["ready"] and end["changes"] == 2 and end["problem"] == "too few pairs"


def test_error_before_the_models_are_loaded_ends_the_server(server):
    def work(background):
        raise FileNotFoundError("no model at nowhere")

    with pytest.raises(FileNotFoundError, match="nowhere"):
        serve(server, Background(server, work))


def test_work_pauses_while_a_request_is_answered_and_stops_on_leaving(server):
    items = []

    def work(background):
        background.report_ready()
        for item in progress(range(10**6), 10**6, "measuring"):
            items.append(item)
            if item == 5:
                reached.set()
                resume.wait(10)

    reached, resume = threading.Event(), threading.Event()
    background = Background(server, work)
    with background:
        assert reached.wait(10)
        with server.inference_lock:
            resume.set()
            background.thread.join(0.1)
            assert items[-1] == 5
    assert not background.thread.is_alive() and len(items) < 10**6 and state(background)["problem"] == ""
