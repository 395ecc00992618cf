import argparse
from types import SimpleNamespace

import pytest

from aird_plugin.cli.input_arguments import OneOrSeveral, open_teachers, parse_input


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("color=bgr", {"color": "bgr"}),
        ("color=bgr,mean=127.5, std=128", {"color": "bgr", "mean": 127.5, "std": 128}),
        ("mean=(104, 117, 123),std=1", {"mean": (104, 117, 123), "std": 1}),
        ("output=1", {"output": 1}),
        ("output=fc1,size=(112,96)", {"output": "fc1", "size": (112, 96)}),
        ('{"color": "bgr", "mean": [104, 117, 123]}', {"color": "bgr", "mean": [104, 117, 123]}),
    ],
)
def test_forms(text, expected):
    assert parse_input("--input", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bgr", "'bgr' is not key=value; an example is --input color=bgr"),
        ("", "is not key=value"),
        ("colour=bgr", "--input colour=bgr: has no key 'colour'"),
        ("color=red", "color is 'rgb' or 'bgr'; got 'red'"),
        ("{color: bgr}", "no JSON"),
        ("{" * 100_000, "no JSON"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_input("--input", text)


@pytest.mark.parametrize(
    ("words", "expected"), [([], None), (["--a", "x"], "x"), (["--a", "x", "--a", "y", "--a", "z"], ("x", "y", "z"))]
)
def test_option_given_once_or_several_times(words, expected):
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", action=OneOrSeveral)
    assert parser.parse_args(words).a == expected


def test_teacher_input_needs_a_teacher():
    with pytest.raises(ValueError, match="give --teacher FILE, or leave it out"):
        parse_input("--teacher-input", "color=bgr", None)


@pytest.mark.parametrize("teacher", [None, "one.onnx"])
@pytest.mark.parametrize("join", ["concat", "mean", "sum"])
def test_teacher_join_needs_several_teachers(teacher, join):
    """With one teacher it had no effect, even with an unknown value."""
    with pytest.raises(ValueError, match="--teacher-join joins several teachers: give --teacher several times, or leave it out"):
        open_teachers(SimpleNamespace(teacher=teacher, teacher_input=None, teacher_join=join), "cpu")
