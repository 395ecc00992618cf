"""The page in a browser: two faces, the slider, the decision, errors."""

import threading

import numpy as np
import pytest
import torch

from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo import app
from aird_plugin.demo.api import DemoApi
from aird_plugin.demo.comparison import Network, compare_faces
from aird_plugin.demo.face_crop import png
from aird_plugin.demo.server import DemoServer
from aird_plugin.models import build

FACES = [draw_person(2, 3), draw_person(2, 4)]
DONE = "!results.hidden && results.getAttribute('aria-busy') == 'false' && state.textContent != 'Computing…'"
COSINE = "document.querySelector('[data-network=student] .cosine').textContent"
VERDICT = "document.querySelector('[data-network=student] .verdict')?.textContent"


def row(px, cosine):
    fars = ((0.01, cosine), (0.001, None))
    return {"px": px, "points": [{"far": far, "cosine": value, "tar": value, "n_impostor": 2000} for far, value in fars]}


@pytest.fixture
def api():
    """At 16 px every cosine is above the threshold, from 24 px on none."""
    torch.manual_seed(0)
    model = build("native16_0.05m", 8)
    with torch.inference_mode():
        model(torch.randn(8, 3, 16, 16))
    table = {"pairs": "p.bin", "degradation": "insightface-warp", "rows": [row(16, -1.0), row(24, 1.0)]}
    return DemoApi([Network("teacher", build("native112_0.05m", 8).eval(), None), Network("student", model.eval(), table)])


@pytest.fixture
def url(api):
    with DemoServer("127.0.0.1", 0) as server:
        server.documents, server.endpoints = app.routes(api)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join(10)


def set_to(browser, name: str, value, event: str) -> None:
    browser.run(f"document.getElementById('{name}').value = {value!r}")
    browser.run(f"document.getElementById('{name}').dispatchEvent(new Event('{event}'))")


def expected(api, px: int) -> str:
    comparison = compare_faces(api.networks, np.stack(FACES), [112.0, 112.0], px, "insightface-warp")
    return f"{comparison.results[1].cosine:.3f}".replace("-", "\u2212")


def test_two_faces_slider_and_decision(browser, url, api, tmp_path):
    for number, face in enumerate(FACES):
        (tmp_path / f"{number}.png").write_bytes(png(face))
    (tmp_path / "broken.png").write_bytes(png(FACES[0])[:900])
    browser.call("Page.navigate", url=url)
    browser.until("document.querySelectorAll('#examples button').length == 6")
    assert browser.run("results.hidden") and browser.run("state.textContent") == "Add two faces."
    browser.choose(".slot .file", 0, tmp_path / "0.png")
    browser.until("state.textContent == 'Add the other face.'")
    browser.choose(".slot .file", 2, tmp_path / "1.png")
    browser.until(DONE)
    assert browser.run(COSINE) == expected(api, 16)
    assert browser.run(VERDICT) == "\u25b2 above the threshold for FAR 1%"
    sides = browser.run("[...document.querySelectorAll('#sights img')].map((image) => image.naturalWidth)")
    assert sides == [16, 16, 112, 112, 16, 16]

    set_to(browser, "px", "30", "input")
    browser.until(f"{VERDICT} == '\u25bd below the threshold for FAR 1%'")
    assert browser.run(COSINE) == expected(api, 30) and browser.run("size.textContent") == "30 px"
    set_to(browser, "far", "0.001", "change")
    assert browser.run(VERDICT) == "\u2013 no threshold for FAR 0.1%"
    set_to(browser, "degradation", "blur", "change")
    browser.until("document.body.innerText.includes('the thresholds hold for insightface-warp only')")
    assert browser.page_errors() == []

    browser.choose(".slot .file", 0, tmp_path / "broken.png")
    browser.until("document.querySelector('.slot .error').textContent.includes('no readable image')")
    browser.run("document.querySelector('.clear').click()")
    browser.until("results.hidden && state.textContent == 'Add the other face.'")
    browser.run("document.querySelectorAll('#examples button')[4].click()")
    browser.until(DONE)
    urls = {event["params"]["request"]["url"] for event in browser.events if event.get("method") == "Network.requestWillBeSent"}
    urls = {address for address in urls if not address.startswith(("data:", "about:"))}
    assert urls == {url, url + "info", url + "face", url + "comparison"}


@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_width_and_controls_have_names(browser, url, width):
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
