"""`compare_faces` against a slow implementation, and every reason for no decision."""

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.degradation import DEGRADATIONS
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo.comparison import Network, compare_faces, decide
from aird_plugin.models import build
from tests.skips import needs

FACES = np.stack([draw_person(2, 3), draw_person(2, 4)])
WARP = "insightface-warp"


def network(name: str):
    """Random weights, and BatchNorm statistics that differ from their initial values."""
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
def test_cosine_equals_network_on_images_resized_one_by_one(name, side, px):
    """Pillow and the plain network, image by image, without horizontal flips."""
    model = network(name)
    comparison = compare_faces([Network("student", model, None)], FACES, [112.0, 112.0], px, "bicubic")
    embeddings = []
    for number, image in enumerate(FACES):
        low = Image.fromarray(image).resize((px, px), Image.Resampling.BICUBIC)
        network_input = np.asarray(low.resize((side, side), Image.Resampling.BICUBIC))
        assert np.array_equal(comparison.low_2SSC[number], np.asarray(low))
        assert np.array_equal(comparison.results[0].inputs_2SSC[number], network_input)
        x = torch.from_numpy(network_input.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            embeddings.append(model(x)[0].double())
    first, second = embeddings
    assert comparison.results[0].cosine == pytest.approx(float(first @ second / first.norm() / second.norm()), abs=1e-5)


def test_warped_face_is_resized_to_each_network():
    cv2 = needs("cv2")
    networks = [Network(name, network(name), None) for name in ("native16_0.05m", "native112_0.05m")]
    small, large = compare_faces(networks, FACES, [112.0, 112.0], 20, WARP).results
    low = np.asarray(Image.fromarray(FACES[0]).resize((20, 20), Image.Resampling.BICUBIC))
    scale = 112 / 20
    matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
    warped = cv2.warpAffine(low, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE).astype(int)
    assert abs(large.inputs_2SSC[0] - warped).max() <= 8 and abs(large.inputs_2SSC[0] - warped).mean() < 1
    assert small.inputs_2SSC.shape == (2, 16, 16, 3)
    assert np.array_equal(small.inputs_2SSC[0], Image.fromarray(large.inputs_2SSC[0]).resize((16, 16), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_px_112_leaves_images_unchanged(degradation):
    comparison = compare_faces([Network("student", network("native112_0.05m"), None)], FACES, [112.0, 112.0], 112, degradation)
    assert np.array_equal(comparison.low_2SSC, FACES) and np.array_equal(comparison.results[0].inputs_2SSC, FACES)


def test_above_is_strict():
    model = network("native16_0.05m")
    cosine = compare_faces([Network("student", model, None)], FACES, [112.0] * 2, 16, WARP).results[0].cosine
    for threshold, above in ((cosine - 1e-6, True), (cosine, False), (cosine + 1e-6, False), (None, None)):
        result = compare_faces([Network("student", model, table(threshold))], FACES, [112.0] * 2, 16, WARP).results[0]
        assert (
            result.decisions == [{"far": 0.01, "n_impostor": 1000, "threshold": threshold, "above": above}]
            and result.reason == ""
        )


@pytest.mark.parametrize(("px", "row"), [(16, 16), (23, 16), (23.9, 16), (24, 24), (112, 24)])
def test_row_holds_from_its_px_to_the_next(px, row):
    assert decide(table(0.3), 0.5, px, WARP)[1:] == (row, "")


@pytest.mark.parametrize(
    ("thresholds", "px", "degradation", "reason"),
    [
        (None, 16, WARP, "no thresholds were measured for this network"),
        (table(0.3), 15.9, WARP, "no thresholds were measured below 16 px"),
        (table(0.3), 16, "blur", "the thresholds hold for insightface-warp only"),
    ],
)
def test_missing_threshold_has_a_reason(thresholds, px, degradation, reason):
    assert decide(thresholds, 0.5, px, degradation) == ([], None, reason)


def test_row_follows_the_smaller_original_px():
    """The row is that of the smallest of the requested px and both original px."""
    networks = [Network("student", network("native16_0.05m"), table(0.3))]
    for own, px, row in (([112.0, 112.0], 64, 24), ([112.0, 18.5], 64, 16), ([18.5, 112.0], 64, 16), ([40.0, 40.0], 16, 16)):
        comparison = compare_faces(networks, FACES, own, px, WARP)
        assert comparison.px == min(px, *own) and comparison.results[0].row_px == row and comparison.low_2SSC.shape[1] == px


@pytest.mark.parametrize(
    ("images", "px", "degradation", "message"),
    [
        (FACES, 3, "bicubic", "from 4 to 112; got 3"),
        (FACES, 113, "bicubic", "got 113"),
        (FACES, 16.0, "bicubic", "got 16.0"),
        (FACES, 16, "rain", "degradation is one of"),
        (FACES[:1], 16, "bicubic", "two aligned faces of 112 px"),
        (FACES[:, :56, :56], 16, "bicubic", "two aligned faces of 112 px"),
    ],
)
def test_invalid_arguments_are_rejected(images, px, degradation, message):
    with pytest.raises(ValueError, match=message):
        compare_faces([Network("student", network("native16_0.05m"), None)], images, [112.0, 112.0], px, degradation)


def test_non_finite_embedding_is_rejected():
    model = network("native16_0.05m")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="student: its embedding is not finite"):
        compare_faces([Network("student", model, None)], FACES, [112.0, 112.0], 16, "bicubic")
