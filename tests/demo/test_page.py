"""The page in a browser: two faces, the slider, the decision, errors."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from aird_plugin import Gallery
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo.api import DemoApi
from aird_plugin.demo.background import Background
from aird_plugin.demo.comparison import Network, compare_faces
from aird_plugin.demo.face_crop import png
from aird_plugin.demo.loading import routes
from aird_plugin.demo.page_document import page
from aird_plugin.demo.photo import PhotoApi
from aird_plugin.demo.server import DemoServer, Document
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


@contextmanager
def serving(api, work=lambda background: None):
    """The address of a page with these endpoints; `work` is done behind it."""
    with DemoServer("127.0.0.1", 0) as server:

        def ready(background):
            background.report_ready()
            work(background)

        background = Background(server, ready)
        documents, server.endpoints = routes(api)
        html = Document("text/html; charset=utf-8", *page())
        server.documents = {"/": html, "/progress": background.document, **documents}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with background:
                yield server.url
        # Also after a failed assertion: the interpreter would wait for the thread.
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture
def url(api):
    with serving(api) as address:
        yield address


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
    assert urls == {url, url + "progress", url + "info", url + "face", url + "comparison"}


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


NAMES = "[...document.querySelectorAll('#found-list .name')].map((name) => name.textContent).join()"
STATE = "document.getElementById('photo-state').textContent"
STILL = f"photo.seen && stage.getAttribute('aria-busy') == 'false' && {STATE} != 'Computing…'"


def test_photo_gallery_slider_and_thresholds_that_arrive_later(browser, api, routed, frame, tmp_path):
    """Three faces; enrolled at full size; decisions appear when the background work brings the thresholds."""
    (tmp_path / "photo.png").write_bytes(png(frame[..., ::-1]))
    calibration, measured = routed.calibration, threading.Event()
    routed.calibration = type(calibration)([])
    photo = PhotoApi(routed, Gallery(routed))

    def work(background):
        background.report_steps(4)
        background.report_task("measuring")
        assert measured.wait(60)
        routed.calibration = calibration
        background.report_change()

    with serving(DemoApi(api.networks, None, "cpu", photo), work) as url:
        browser.call("Page.navigate", url=url)
        browser.until("document.getElementById('photo-part')?.hidden === false")
        assert "Measuring: step 1 of 4, 0%" in browser.run("task.textContent")
        browser.choose("#photo-file", 0, tmp_path / "photo.png")
        browser.until(STILL)
        assert browser.run("document.querySelectorAll('.box').length") == 3
        browser.run("enrol.click()")
        browser.until("document.querySelectorAll('#found-list .number:not(:empty)').length == 3")
        assert browser.run(NAMES) == "1. Person 1?,2. Person 2?,3. Person 3?"
        assert browser.run("document.getElementById('photo-rate').hidden")
        measured.set()
        browser.until(f"{NAMES} == '1. Person 1,2. Person 2,3. Person 3'")
        assert browser.run("document.getElementById('photo-far').value") == "0.01" and browser.run("background.hidden")
        set_to(browser, "share", 40, "input")
        browser.until("photo.seen.width < 640")
        assert "names as in the original photo" in browser.run(STATE)
        # A decision for Person 1 at full size; at this size no decision with a nearest identity, another decision, no face.
        decided = (
            "{px: 40, network: 'n', match: {name: 'Person 1', candidates: [['Person 1', 0.5]], threshold: null, cosine: 0.5}}"
        )
        for name, nearest, kind in (
            ("null", "'Person 1'", "open"),
            ("null", "'Person 2'", "open changed"),
            ("'Person 2'", "'Person 2'", "named changed"),
            ("'unknown'", "'Person 1'", "unknown changed"),
            ("'Person 1'", "'Person 1'", "named"),
        ):
            match = f"{{name: {name}, candidates: [[{nearest}, 0.2]], threshold: null, cosine: 0.2, reason: 'too small'}}"
            row = f"{{before: {decided}, face: {{px: 9, network: 'n', match: {match}}}, box: [0, 0.5, 0.5, 1]}}"
            assert browser.run(f"drawRow({row}, 0).className") == kind
            assert browser.run(f"drawBox({row}, 0).className") == f"box {kind}"
        assert browser.run(f"drawRow({{before: {decided}, face: null, box: [0, 0, 1, 1]}}, 0).className") == "lost changed"
        browser.run("forget.click()")
        browser.until("photo.seen.identities == 0")
        assert browser.page_errors() == []
