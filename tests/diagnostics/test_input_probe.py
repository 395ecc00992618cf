"""The probe finds the right input of a hand-written teacher, and is silent where the input is right."""

import numpy as np
import pytest

from aird_plugin.__main__ import main
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.diagnostics import input_probe
from aird_plugin.diagnostics.input_probe import best_of, probe, sample_of_pairs, sample_of_records
from aird_plugin.models.teacher_input import USUAL, TeacherInput
from tests.diagnostics.red_network import RAW, RedNetwork
from tests.diagnostics.test_teacher_input import IDENTITIES, png


@pytest.fixture
def pairs_file(images, tmp_path):
    """Genuine and impostor pairs in turn."""
    files = [png(image) for image in images]
    pairs = [files[place] for i in range(IDENTITIES) for place in (2 * i, 2 * i + 1, 2 * i, (2 * i + 3) % len(files))]
    write_pairs(tmp_path / "pairs.bin", pairs, [True, False] * IDENTITIES)
    return tmp_path / "pairs.bin"


@pytest.mark.parametrize("right", [TeacherInput("bgr"), RAW, TeacherInput("bgr", 0, 1)])
def test_probe_finds_the_right_input(records, pairs_file, right):
    for sample in (sample_of_records(records), sample_of_pairs(pairs_file)):
        ways = probe(RedNetwork(right), sample)
        best = best_of(ways)
        assert best.stated.over(USUAL) == right.over(USUAL)
        assert best is ways[0] and best.t > input_probe.MIN_T and best.ci95[0] > 0
        assert sum(way.present for way in ways) == 1


def test_probe_is_silent_where_the_input_is_right(records, pairs_file):
    for sample in (sample_of_records(records), sample_of_pairs(pairs_file)):
        assert best_of(probe(RedNetwork(), sample)) is None


def test_probe_of_the_stated_input(records):
    """The way that is stated now is the present one; the right one is then clearly better."""
    ways = probe(RedNetwork().with_input(RAW), sample_of_records(records))
    assert next(way for way in ways if way.present).stated.mean == (0, 0, 0)
    assert best_of(ways).stated.over(USUAL) == USUAL


def test_figures_of_a_way_by_hand(records):
    sample, right = sample_of_records(records), TeacherInput("bgr").over(USUAL)
    [way] = [way for way in probe(RedNetwork(right), sample) if way.stated.over(USUAL) == right]
    embeddings = RedNetwork(TeacherInput("bgr")).with_input(TeacherInput("bgr")).embed(sample.images_UHWC)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine_N = (embeddings[sample.face_2N[0::2]] * embeddings[sample.face_2N[1::2]]).sum(1)
    genuine, impostor = cosine_N[sample.same_N], cosine_N[~sample.same_N]
    assert way.auc == pytest.approx((genuine[:, None] > impostor).mean())


def test_samples_are_labelled_by_identity(records, pairs_file):
    for sample in (sample_of_records(records), sample_of_pairs(pairs_file)):
        first, second = sample.label_2N.reshape(-1, 2).T
        assert ((first == second) == sample.same_N).all() and sample.coloured
        assert len(sample.genuine_2P) == 2 * IDENTITIES == len(np.unique(sample.genuine_2P))


@pytest.mark.parametrize("count", [4, 10, 20, 27])
def test_sample_of_alternating_pairs_has_both_kinds_in_every_fold(pairs_file, count):
    """An even step took genuine pairs alone: their accuracy was refused, or that of folds of one kind."""
    same_N = sample_of_pairs(pairs_file, count).same_N
    assert len(same_N) in (count, count + 1) and abs(same_N.mean() - 0.5) < 0.1
    assert all(0 < half.mean() < 1 for half in np.array_split(same_N, 2))


def test_grey_images_have_one_channel_order(images, tmp_path):
    grey = images.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
    write_pairs(tmp_path / "grey.bin", [png(image) for image in grey], [True, False] * (len(grey) // 4))
    assert not sample_of_pairs(tmp_path / "grey.bin").coloured
    assert {way.color for way in input_probe.ways_to_feed(RedNetwork(), coloured=False)} == {"rgb"}


def test_too_few_identities_are_an_error(images, tmp_path):
    write_face_records(tmp_path, ((index // 2, png(image)) for index, image in enumerate(images[:6])))
    with pytest.raises(ValueError, match="3 identities with two images; 20 are needed"):
        sample_of_records(FaceRecords(tmp_path / "train.rec"))


def test_doctor_prints_the_table_and_fails_where_another_way_is_better(pairs_file, records, capsys, monkeypatch):
    monkeypatch.setattr("aird_plugin.models.load.load_teacher", lambda *arguments: RedNetwork(TeacherInput("bgr")))
    assert main(["doctor", "--teacher", "red.onnx", "--pairs", str(pairs_file)]) == 1
    text = capsys.readouterr().out
    assert "red.onnx on 80 pairs of" in text and "clearly better: --teacher-input 'color=bgr,mean=127.5,std=127.5'" in text
    monkeypatch.setattr("aird_plugin.models.load.load_teacher", lambda *arguments: RedNetwork())
    assert main(["doctor", "--teacher", "red.onnx", "--rec", str(records.path)]) == 0
    text = capsys.readouterr().out
    assert "no way is clearly better than the present one" in text
    assert "color=rgb,mean=127.5,std=127.5" in text.splitlines()[2]


@pytest.mark.parametrize(
    "words", [["--teacher", "a.onnx"], ["--pairs", "a.bin"], ["--teacher", "a", "--pairs", "b", "--rec", "c"]]
)
def test_doctor_needs_a_teacher_and_one_source_of_images(words, capsys):
    assert main(["doctor", *words]) == 1
    assert "give --teacher FILE with either --pairs FILE.bin or --rec DIR" in capsys.readouterr().err


MORE_PAIRS = {"p_holm": 0.01, "ci95": [1.0, 3.0]}
AS_MANY = {"p_holm": 1.0, "ci95": [-1.0, 1.0]}


@pytest.mark.parametrize(
    ("gain", "t", "row", "expected"),
    [
        (0.03, 8.0, AS_MANY, True),
        (0.03, 2.0, MORE_PAIRS, True),
        (0.03, 2.0, AS_MANY, False),
        (0.0001, 9.0, AS_MANY, False),
        (-0.04, -7.0, MORE_PAIRS, False),
    ],
)
def test_clearly_better_needs_larger_margins_and_a_test(gain, t, row, expected):
    way = input_probe.Way(USUAL, 90.0, 0.9, gain, (gain, gain), t, row)
    assert way.is_clearly_better is expected and (input_probe.best_of([way]) is way) is expected
