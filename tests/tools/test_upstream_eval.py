"""The command for InsightFace's own evaluation, on the stand-in checkout; tests/bridge/test_tools.py checks the figures."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.bridge.tools import verify
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.models import build

TESTS = Path(__file__).parents[1]
STANDIN = str(TESTS / "bridge" / "standin")
NATIVE = "native16_0.05m"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("upstream_eval", TESTS.parent / "tools" / "upstream_eval.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def student(tmp_path):
    torch.manual_seed(0)
    torch.save(build(NATIVE, 8).state_dict(), tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


def test_verification_prints_upstream_lines(tool, student, pairs_file, capsys):
    words = ["verification", student, "--network", NATIVE, "--arcface-torch", STANDIN, "--pairs", pairs_file, pairs_file]
    assert tool.main(words) == 0
    accuracy, std, xnorm = verify(STANDIN, student, pairs_file, NATIVE)
    lines = f"[pairs]XNorm: {xnorm:f}\n[pairs]Accuracy-Flip: {accuracy:1.5f}+-{std:1.5f}\n"
    assert capsys.readouterr().out.endswith(lines * 2) and accuracy > 0


def test_ijb_prints_the_path_of_the_scores(tool, monkeypatch, capsys, tmp_path):
    calls = []
    monkeypatch.setattr("aird_plugin.bridge.tools.ijb", lambda *given: calls.append(given) or tmp_path / "ijbb.npy")
    words = ["ijb", "m.onnx", "--arcface-torch", "D", "--image-path", "I", "--target", "IJBB", "--result-dir", "O"]
    assert tool.main(words) == 0
    assert calls == [("D", "m.onnx", "I", "IJBB", "O")]
    assert capsys.readouterr().out == f"scores: {tmp_path / 'ijbb.npy'}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verification", "m.onnx", "--pairs", "a.bin"], "no checkout given; set --arcface-torch DIR"),
        (["verification", "m.onnx", "--pairs", "a.bin", "--arcface-torch", STANDIN], "no model at m.onnx"),
        (["ijb", "m.onnx", "--image-path", ".", "--result-dir", "o", "--arcface-torch", "."], "no arcface_torch checkout"),
    ],
)
def test_bad_input_is_one_line(tool, words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert tool.main(words) == 1
    printed = capsys.readouterr()
    assert re.fullmatch(rf"error: [^\n]*{message}[^\n]*\n", printed.err) and not printed.out


def test_damaged_bin_is_one_line(tool, student, capsys, tmp_path):
    (tmp_path / "cut.bin").write_bytes(b"\x80\x03")
    words = ["verification", student, "--network", NATIVE, "--arcface-torch", STANDIN, "--pairs", str(tmp_path / "cut.bin")]
    assert tool.main(words) == 1
    assert re.fullmatch(r"error: [^\n]*cut\.bin[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("same", "words"),
    [
        (
            [True, False] * 5,
            r"fold 1 of 10 \(1 of 10 pairs\) has no 'different' pair.*or use `aird evaluate`, which",
        ),
        ([True, False] * 9 + [True] * 2, "fold 10 of 10 .2 of 20 pairs. has no 'different' pair"),
        ([True, False], "few.bin: 2 pairs do not fill 10 folds"),
    ],
)
def test_pairs_that_upstream_cannot_evaluate_are_named(tool, student, tmp_path, capsys, same, words):
    """Its evaluation divides by the number of pairs of each kind in a fold."""
    write_pairs(tmp_path / "few.bin", [encode_jpeg(np.full((112, 112, 3), n, np.uint8)) for n in range(2 * len(same))], same)
    arguments = ["--network", NATIVE, "--arcface-torch", STANDIN, "--pairs", str(tmp_path / "few.bin")]
    assert tool.main(["verification", student, *arguments]) == 1
    error = capsys.readouterr().err
    assert re.search(words, error) and error.startswith(f"error: {tmp_path / 'few.bin'}: ") and error.count("\n") == 1
