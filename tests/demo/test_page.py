"""The page in a real browser: two faces, the slider, the verdict, what goes wrong."""

import threading

import numpy as np
import pytest
import torch

from aird_plugin.data.synthetic import draw_person
from aird_plugin.demo import command
from aird_plugin.demo.answers import Answers
from aird_plugin.demo.judge import Network, judge
from aird_plugin.demo.pictures import png
from aird_plugin.demo.server import DemoServer, Document, Question, as_json
from aird_plugin.models import build

FACES = [draw_person(2, 3), draw_person(2, 4)]
DONE = "!results.hidden && results.getAttribute('aria-busy') == 'false' && state.textContent != 'Computing…'"
COSINE = "document.querySelector('[data-network=student] .cosine').textContent"
VERDICT = "document.querySelector('[data-network=student] .verdict')?.textContent"


def row(px, cosine):
    fars = ((0.01, cosine), (0.001, None))
    return {"px": px, "points": [{"far": far, "cosine": value, "tar": value, "n_impostor": 2000} for far, value in fars]}


@pytest.fixture
def answers():
    """At 16 px everything is above the threshold, from 24 px on nothing."""
    torch.manual_seed(0)
    model = build("native16_0.05m", 8)
    with torch.inference_mode():
        model(torch.randn(8, 3, 16, 16))
    table = {"pairs": "p.bin", "degradation": "insightface-warp", "rows": [row(16, -1.0), row(24, 1.0)]}
    return Answers([Network("teacher", build("native112_0.05m", 8).eval(), None), Network("student", model.eval(), table)])


@pytest.fixture
def url(answers):
    with DemoServer("127.0.0.1", 0) as server:
        documents = {"/": Document("text/html; charset=utf-8", *command.page()), "/facts": as_json(answers.facts())}
        server.documents = documents
        server.questions = {"/face": Question(10**7, answers.face), "/judgement": Question(10**6, answers.judgement)}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join(10)


def set_to(browser, name: str, value, event: str) -> None:
    browser.run(f"document.getElementById('{name}').value = {value!r}")
    browser.run(f"document.getElementById('{name}').dispatchEvent(new Event('{event}'))")


def expected(answers, px: int) -> str:
    said = judge(answers.networks, np.stack(FACES), [112.0, 112.0], px, "insightface-warp")
    return f"{said.sights[1].cosine:.3f}".replace("-", "\u2212")


def test_two_faces_a_slider_and_a_verdict(browser, url, answers, tmp_path):
    for number, face in enumerate(FACES):
        (tmp_path / f"{number}.png").write_bytes(png(face))
    (tmp_path / "broken.png").write_bytes(png(FACES[0])[:900])
    browser.call("Page.navigate", url=url)
    browser.until("document.querySelectorAll('#examples button').length == 6")
    assert browser.run("results.hidden") and browser.run("state.textContent") == "Waiting for two faces."
    browser.choose(".slot .file", 0, tmp_path / "0.png")
    browser.until("state.textContent == 'Waiting for the other face.'")
    browser.choose(".slot .file", 2, tmp_path / "1.png")
    browser.until(DONE)
    assert browser.run(COSINE) == expected(answers, 16)
    assert browser.run(VERDICT) == "\u25b2 above the threshold for FAR 1%"
    sides = browser.run("[...document.querySelectorAll('#sights img')].map((image) => image.naturalWidth)")
    assert sides == [16, 16, 112, 112, 16, 16]

    set_to(browser, "px", "30", "input")
    browser.until(f"{VERDICT} == '\u25bd below the threshold for FAR 1%'")
    assert browser.run(COSINE) == expected(answers, 30) and browser.run("size.textContent") == "30 px"
    set_to(browser, "far", "0.001", "change")
    assert browser.run(VERDICT) == "\u2013 no threshold for FAR 0.1%"
    set_to(browser, "degradation", "blur", "change")
    browser.until("document.body.innerText.includes('its thresholds hold for insightface-warp alone')")
    assert browser.complaints() == []

    browser.choose(".slot .file", 0, tmp_path / "broken.png")
    browser.until("document.querySelector('.slot .error').textContent.includes('no readable image')")
    browser.run("document.querySelector('.clear').click()")
    browser.until("results.hidden && state.textContent == 'Waiting for the other face.'")
    browser.run("document.querySelectorAll('#examples button')[4].click()")
    browser.until(DONE)
    asked = {event["params"]["request"]["url"] for event in browser.events if event.get("method") == "Network.requestWillBeSent"}
    asked = {address for address in asked if not address.startswith(("data:", "about:"))}
    assert asked == {url, url + "facts", url + "face", url + "judgement"}


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_and_every_control_has_a_name(browser, url, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url=url)
    browser.until("document.querySelectorAll('#examples button').length == 6")
    browser.run("for (const n of [0, 1]) document.querySelectorAll('#examples button')[n].click()")
    browser.until(DONE)
    assert browser.run("document.documentElement.scrollWidth") <= width
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "combobox", "image", "group", "region"}
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    named = [(role, name) for role, name in named if role in roles]
    assert len(named) > 15 and all(name for _, name in named), named
