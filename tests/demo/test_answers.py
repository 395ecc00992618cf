"""What the page may ask, as bytes in and JSON out."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.images import decode
from aird_plugin.data.synthetic import draw_person
from aird_plugin.demo.answers import EXAMPLES, Answers
from aird_plugin.demo.judge import Network, judge
from aird_plugin.demo.pictures import png
from aird_plugin.models import build

FACES = np.stack([draw_person(2, 3), draw_person(6, 2)])
POINTS = [{"far": far, "cosine": cosine, "tar": cosine, "n_impostor": 1000} for far, cosine in ((0.01, 0.4), (0.001, None))]
TABLE = {"pairs": "p.bin", "degradation": "blur", "rows": [{"px": 8, "to_px": None, "points": POINTS}]}


def base(file: bytes) -> str:
    return base64.b64encode(file).decode()


def picture(text: str) -> np.ndarray:
    return decode(base64.b64decode(text), "answer")


GOOD = {"faces": [{"png": base(png(face)), "px": 112} for face in FACES], "px": 16, "degradation": "blur"}


@pytest.fixture(scope="module")
def answers():
    torch.manual_seed(0)
    student = Network("student", build("native16_0.05m", 8).eval(), TABLE)
    return Answers([Network("teacher", build("native112_0.05m", 8).eval(), None), student])


def test_the_facts_are_plain_and_the_examples_drawn(answers):
    facts = answers.facts()
    assert facts["networks"] == ["teacher", "student"] and facts["detector"] is False and facts["px"] == [4, 112]
    assert (facts["rates"], facts["pairs"], facts["impostors"], facts["degradation"]) == ([0.01, 0.001], "p.bin", 1000, "blur")
    assert np.array_equal(picture(facts["examples"][1]), draw_person(*EXAMPLES[1]))
    json.dumps(facts, allow_nan=False)


def test_without_thresholds_there_are_no_rates(answers):
    facts = Answers(answers.networks[:1]).facts()
    assert (facts["rates"], facts["pairs"], facts["impostors"], facts["degradation"]) == ([], None, None, "insightface-warp")


def test_a_picture_becomes_a_face(answers):
    said = answers.face(png(FACES[0]))
    assert np.array_equal(picture(said["png"]), FACES[0]) and (said["px"], said["notes"]) == (112.0, [])


def test_an_answer_is_the_judgement(answers):
    said = json.loads(json.dumps(answers.judgement(json.dumps(GOOD).encode()), allow_nan=False))
    expected = judge(answers.networks, FACES, [112.0, 112.0], 16, "blur")
    assert said["px"] == 16 and [network["name"] for network in said["networks"]] == ["teacher", "student"]
    for sight, told in zip(expected.sights, said["networks"], strict=True):
        assert told["cosine"] == sight.cosine and told["verdicts"] == sight.verdicts and told["why"] == sight.why
        for seen, shown in zip(sight.seen_2SSC, told["seen_2SSC"], strict=True):
            assert np.array_equal(picture(shown), seen)
    assert [verdict["above"] for verdict in said["networks"][1]["verdicts"]] == [expected.sights[1].cosine > 0.4, None]
    assert np.array_equal(picture(said["low"][1]), expected.low_2SSC[1])


def bomb() -> bytes:
    """8200 x 8200 black pixels in some 70 KB."""
    file = io.BytesIO()
    Image.new("L", (8200, 8200)).save(file, "PNG")
    return file.getvalue()


def other_face(png_text=GOOD["faces"][0]["png"], px=112):
    return GOOD | {"faces": [GOOD["faces"][0], {"png": png_text, "px": px}]}


@pytest.mark.parametrize(("question", "told"), [
    (b"", "a question is"), (b"\xff", "a question is"), (b"[]", "a question is"), (b"[" * 100_000, "a question is"),
    (b"7", "a question is"),
    (GOOD | {"faces": GOOD["faces"][:1]}, "got 1 of"), (GOOD | {"faces": GOOD["faces"] * 2}, "got 4 of"),
    (GOOD | {"faces": "ab"}, "a question is"), (other_face("?!"), "a question is"), (other_face(7), "a question is"),
    (other_face(px=None), "a question is"), (other_face(px=float("nan")), "nan"), (other_face(px=1e9), "1000000000.0"),
    (other_face(px=0), "0.0"), (GOOD | {"px": 3}, "from 4 to 112; got 3"), (GOOD | {"px": 16.5}, "got 16.5"),
    (GOOD | {"px": "16"}, "got '16'"), (GOOD | {"px": True}, "got True"), (GOOD | {"px": None}, "got None"),
    (GOOD | {"degradation": "rain"}, "degradation is one of"), (GOOD | {"degradation": ["blur"]}, "degradation is one of"),
    (other_face(base(b"GIF89a")), "a face: 6 bytes"), (other_face(base(bomb())), "8200x8200 pixels"),
    (other_face(base(png(FACES[0][:111]))), "112x111"), ({}, "a question is"),
])  # fmt: skip
def test_another_question_is_one_sentence(answers, question, told):
    payload = question if isinstance(question, bytes) else json.dumps(question).encode()
    with pytest.raises(ValueError) as refusal:
        answers.judgement(payload)
    assert told in str(refusal.value) and len(str(refusal.value)) < 300
