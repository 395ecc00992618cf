"""The picture of docs/recognise.md: small, of the frame that the tool draws, and labelled where the faces are."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from tests.test_docs import ROOT
from tools.draw_recognise_picture import HEIGHT, NAMES, OUT, PORTRAITS, WIDTH, ZOOM, annotate, draw_frame


def test_committed_picture_shows_the_drawn_frame():
    file = ROOT / OUT
    assert file.stat().st_size < 150_000
    picture = Image.open(file).convert("RGB")
    frame_HWC = draw_frame()
    assert picture.size == (round(WIDTH * ZOOM), round(HEIGHT * ZOOM)) and frame_HWC.shape == (HEIGHT, WIDTH, 3)
    # Labels cover a part; 128 colors are not exact.
    difference = np.abs(np.asarray(picture).astype(int) - np.asarray(annotate(frame_HWC, [], []))).max(-1)
    assert np.mean(difference > 24) < 0.15


def test_label_has_the_color_of_the_decision():
    frame_HWC = np.full((80, 120, 3), 200, np.uint8)
    face = SimpleNamespace(bbox=np.array([40, 30, 70, 60]), px=30.0)
    colors = {}
    for name in ("Ada", "unknown", None):
        picture = np.asarray(annotate(frame_HWC, [face], [SimpleNamespace(name=name, cosine=0.5)]))
        colors[name] = tuple(picture[round(45 * ZOOM), round(40 * ZOOM) - 1])
    assert len(set(colors.values())) == 3 and (200, 200, 200) not in colors.values()


def test_enrolled_and_other_identities_are_in_the_frame():
    shown = {identity for identity, *_ in PORTRAITS}
    assert set(NAMES) < shown
