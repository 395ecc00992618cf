"""The judgement against a slow way to the same figures, and every reason to give no verdict."""

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.degrade import DEGRADATIONS
from aird_plugin.data.synthetic import draw_person
from aird_plugin.demo.judge import Network, judge, verdicts
from aird_plugin.models import build
from tests.skips import needs

FACES = np.stack([draw_person(2, 3), draw_person(2, 4)])
WARP = "insightface-warp"


def network(name: str):
    """Random weights, and statistics that differ from those of a fresh network."""
    torch.manual_seed(0)
    model = build(name, 8)
    with torch.inference_mode():
        for _ in range(2):
            model(torch.randn(4, 3, model.input_size, model.input_size))
    return model.eval()


def table(cosine, far=0.01, sides=(16, 24)) -> dict:
    points = [{"far": far, "cosine": cosine, "tar": 0.5, "n_impostor": 1000}]
    return {"pairs": "p.bin", "degradation": WARP, "rows": [{"px": px, "points": points} for px in sides]}


@pytest.mark.parametrize(("name", "side"), [("native16_0.05m", 16), ("native112_0.05m", 112)])
@pytest.mark.parametrize("px", [12, 16, 40, 112])
def test_a_cosine_is_that_of_the_network_alone_on_faces_resized_one_by_one(name, side, px):
    """Pillow and the bare network, face by face; no mirrored face."""
    model = network(name)
    said = judge([Network("student", model, None)], FACES, [112.0, 112.0], px, "bicubic")
    embeddings = []
    for number, face in enumerate(FACES):
        low = Image.fromarray(face).resize((px, px), Image.Resampling.BICUBIC)
        seen = np.asarray(low.resize((side, side), Image.Resampling.BICUBIC))
        assert np.array_equal(said.low_2SSC[number], np.asarray(low))
        assert np.array_equal(said.sights[0].seen_2SSC[number], seen)
        x = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            embeddings.append(model(x)[0].double())
    first, second = embeddings
    assert said.sights[0].cosine == pytest.approx(float(first @ second / first.norm() / second.norm()), abs=1e-5)


def test_each_network_gets_its_own_side_of_the_warped_face():
    cv2 = needs("cv2")
    networks = [Network(name, network(name), None) for name in ("native16_0.05m", "native112_0.05m")]
    small, large = judge(networks, FACES, [112.0, 112.0], 20, WARP).sights
    low = np.asarray(Image.fromarray(FACES[0]).resize((20, 20), Image.Resampling.BICUBIC))
    scale = 112 / 20
    matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
    warped = cv2.warpAffine(low, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE).astype(int)
    assert abs(large.seen_2SSC[0] - warped).max() <= 8 and abs(large.seen_2SSC[0] - warped).mean() < 1
    assert small.seen_2SSC.shape == (2, 16, 16, 3)
    assert np.array_equal(small.seen_2SSC[0], Image.fromarray(large.seen_2SSC[0]).resize((16, 16), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_px_112_leaves_faces_alone_however_they_come(degradation):
    said = judge([Network("student", network("native112_0.05m"), None)], FACES, [112.0, 112.0], 112, degradation)
    assert np.array_equal(said.low_2SSC, FACES) and np.array_equal(said.sights[0].seen_2SSC, FACES)


def test_above_means_strictly_above():
    model = network("native16_0.05m")
    cosine = judge([Network("student", model, None)], FACES, [112.0] * 2, 16, WARP).sights[0].cosine
    for threshold, above in ((cosine - 1e-6, True), (cosine, False), (cosine + 1e-6, False), (None, None)):
        sight = judge([Network("student", model, table(threshold))], FACES, [112.0] * 2, 16, WARP).sights[0]
        assert sight.verdicts == [{"far": 0.01, "n_impostor": 1000, "threshold": threshold, "above": above}] and sight.why == ""


@pytest.mark.parametrize(("px", "row"), [(16, 16), (23, 16), (23.9, 16), (24, 24), (112, 24)])
def test_a_row_holds_from_its_px_to_the_next(px, row):
    assert verdicts(table(0.3), 0.5, px, WARP)[1:] == (row, "")


@pytest.mark.parametrize(("thresholds", "px", "degradation", "why"), [
    (None, 16, WARP, "no thresholds were measured for it"),
    (table(0.3), 15.9, WARP, "nothing was measured below 16 px"),
    (table(0.3), 16, "blur", "its thresholds hold for insightface-warp alone"),
])  # fmt: skip
def test_without_a_threshold_it_says_why(thresholds, px, degradation, why):
    assert verdicts(thresholds, 0.5, px, degradation) == ([], None, why)


def test_a_face_that_was_small_already_is_judged_as_small():
    """The smaller one's row, whatever the slider says."""
    networks = [Network("student", network("native16_0.05m"), table(0.3))]
    for own, px, row in (([112.0, 112.0], 64, 24), ([112.0, 18.5], 64, 16), ([18.5, 112.0], 64, 16), ([40.0, 40.0], 16, 16)):
        said = judge(networks, FACES, own, px, WARP)
        assert said.px == min(px, *own) and said.sights[0].row_px == row and said.low_2SSC.shape[1] == px


@pytest.mark.parametrize(("faces", "px", "degradation", "message"), [
    (FACES, 3, "bicubic", "from 4 to 112; got 3"), (FACES, 113, "bicubic", "got 113"), (FACES, 16.0, "bicubic", "got 16.0"),
    (FACES, 16, "rain", "degradation is one of"), (FACES[:1], 16, "bicubic", "two aligned faces of 112 px"),
    (FACES[:, :56, :56], 16, "bicubic", "two aligned faces of 112 px"),
])  # fmt: skip
def test_what_is_no_question_is_refused(faces, px, degradation, message):
    with pytest.raises(ValueError, match=message):
        judge([Network("student", network("native16_0.05m"), None)], faces, [112.0, 112.0], px, degradation)


def test_broken_weights_are_named():
    model = network("native16_0.05m")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="student: its embedding is not finite"):
        judge([Network("student", model, None)], FACES, [112.0, 112.0], 16, "bicubic")
