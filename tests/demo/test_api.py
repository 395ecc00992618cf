"""The endpoints of the page: bytes in, JSON out."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.images import decode
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo.api import EXAMPLES, DemoApi
from aird_plugin.demo.comparison import Network, compare_faces
from aird_plugin.demo.face_crop import png
from aird_plugin.models import build

FACES = np.stack([draw_person(2, 3), draw_person(6, 2)])
POINTS = [{"far": far, "cosine": cosine, "tar": cosine, "n_impostor": 1000} for far, cosine in ((0.01, 0.4), (0.001, None))]
TABLE = {"pairs": "p.bin", "degradation": "blur", "rows": [{"px": 8, "to_px": None, "points": POINTS}]}


def base64_of(file: bytes) -> str:
    return base64.b64encode(file).decode()


def image_of(text: str) -> np.ndarray:
    return decode(base64.b64decode(text), "response")


GOOD = {"faces": [{"png": base64_of(png(face)), "px": 112} for face in FACES], "px": 16, "degradation": "blur"}


@pytest.fixture(scope="module")
def api():
    torch.manual_seed(0)
    student = Network("student", build("native16_0.05m", 8).eval(), TABLE)
    return DemoApi([Network("teacher", build("native112_0.05m", 8).eval(), None), student])


def test_info_is_json_with_synthetic_examples(api):
    info = api.info()
    assert info["networks"] == ["teacher", "student"] and info["detector"] is False and info["px"] == [4, 112]
    assert (info["rates"], info["pairs"], info["impostors"], info["degradation"]) == ([0.01, 0.001], "p.bin", 1000, "blur")
    assert info["supported"] == [0.01]
    assert np.array_equal(image_of(info["examples"][1]), draw_person(*EXAMPLES[1]))
    json.dumps(info, allow_nan=False)


def test_info_without_thresholds_has_no_rates(api):
    info = DemoApi(api.networks[:1]).info()
    assert (info["rates"], info["pairs"], info["impostors"], info["degradation"]) == ([], None, None, "insightface-warp")


def test_face_of_an_aligned_image(api):
    face = api.face(png(FACES[0]))
    assert np.array_equal(image_of(face["png"]), FACES[0]) and (face["px"], face["notes"]) == (112.0, [])


def test_comparison_equals_compare_faces(api):
    response = json.loads(json.dumps(api.comparison(json.dumps(GOOD).encode()), allow_nan=False))
    expected = compare_faces(api.networks, FACES, [112.0, 112.0], 16, "blur")
    assert response["px"] == 16 and [network["name"] for network in response["networks"]] == ["teacher", "student"]
    for result, row in zip(expected.results, response["networks"], strict=True):
        assert row["cosine"] == result.cosine and row["decisions"] == result.decisions and row["reason"] == result.reason
        for image, text in zip(result.inputs_2SSC, row["inputs_2SSC"], strict=True):
            assert np.array_equal(image_of(text), image)
    assert [decision["above"] for decision in response["networks"][1]["decisions"]] == [expected.results[1].cosine > 0.4, None]
    assert np.array_equal(image_of(response["low"][1]), expected.low_2SSC[1])


def decompression_bomb() -> bytes:
    """8200 x 8200 black pixels in about 70 KB."""
    file = io.BytesIO()
    Image.new("L", (8200, 8200)).save(file, "PNG")
    return file.getvalue()


def with_second_face(png_text=GOOD["faces"][0]["png"], px=112):
    return GOOD | {"faces": [GOOD["faces"][0], {"png": png_text, "px": px}]}


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (b"", "a request is"),
        (b"\xff", "a request is"),
        (b"[]", "a request is"),
        (b"[" * 100_000, "a request is"),
        (b"7", "a request is"),
        (GOOD | {"faces": GOOD["faces"][:1]}, "got 1 of"),
        (GOOD | {"faces": GOOD["faces"] * 2}, "got 4 of"),
        (GOOD | {"faces": "ab"}, "a request is"),
        (with_second_face("?!"), "a request is"),
        (with_second_face(7), "a request is"),
        (with_second_face(px=None), "a request is"),
        (with_second_face(px=float("nan")), "nan"),
        (with_second_face(px=1e9), "1000000000.0"),
        (with_second_face(px=0), "0.0"),
        (with_second_face(px=10**400), "a request is"),
        (GOOD | {"px": 3}, "from 4 to 112; got 3"),
        (GOOD | {"px": 16.5}, "got 16.5"),
        (GOOD | {"px": "16"}, "got '16'"),
        (GOOD | {"px": True}, "got True"),
        (GOOD | {"px": None}, "got None"),
        (GOOD | {"degradation": "rain"}, "degradation is one of"),
        (GOOD | {"degradation": ["blur"]}, "degradation is one of"),
        (with_second_face(base64_of(b"GIF89a")), "a face: 6 bytes"),
        (with_second_face(base64_of(decompression_bomb())), "8200x8200 pixels"),
        (with_second_face(base64_of(png(FACES[0][:111]))), "112x111"),
        ({}, "a request is"),
    ],
)
def test_invalid_request_is_rejected_in_one_line(api, request_body, message):
    payload = request_body if isinstance(request_body, bytes) else json.dumps(request_body).encode()
    with pytest.raises(ValueError) as error:
        api.comparison(payload)
    assert message in str(error.value) and len(str(error.value)) < 300
