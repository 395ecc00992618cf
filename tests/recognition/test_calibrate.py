"""`aird calibrate`: an HR recogniser alone decides, and thresholds of other models are refused."""

import json

import numpy as np
import pytest

from aird_plugin import Gallery
from aird_plugin.__main__ import main
from aird_plugin.cli.model_arguments import read_inputs
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration import Calibration, Side
from aird_plugin.recognition.calibration_files import read_section
from tests.recognition.conftest import entry, write_export, write_hr
from tests.skips import needs

N_IMPOSTORS = 100


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """20 genuine and 100 impostor pairs of drawn identities."""
    shots = [(identity, drawing) for identity in range(20) for drawing in range(2)]
    files = [encode_jpeg(draw_person(*shot)) for shot in shots]
    genuine = [(2 * n, 2 * n + 1) for n in range(20)]
    impostor = [(2 * (n % 20), 2 * ((n + 1 + n // 20) % 20)) for n in range(N_IMPOSTORS)]
    chosen = [pair for n in range(20) for pair in (genuine[n], *impostor[5 * n : 5 * n + 5])]
    same = [one // 2 == other // 2 for one, other in chosen]
    file = tmp_path_factory.mktemp("pairs") / "drawn.bin"
    write_pairs(file, [files[number] for pair in chosen for number in pair], same)
    return file


@pytest.fixture
def hr(tmp_path):
    write_hr(needs("onnx"), tmp_path / "hr.onnx")
    return tmp_path / "hr.onnx"


def calibrate(pairs, *models, px=("16", "64"), more=()):
    return main(["calibrate", str(pairs), "--models", *map(str, models), "--px", *px, *map(str, more)])


def test_hr_recogniser_alone_decides(hr, pairs, capsys):
    assert TinyFaceAnalysis(hr).calibration.fars == []
    assert calibrate(pairs, hr) == 0
    printed = capsys.readouterr().out
    assert "thresholds of hr" in printed
    # A line for each px at the one rate that was measured.
    rows = [line.split() for line in printed.splitlines() if line.split()[0] == "hr"]
    assert [row[:3] for row in rows] == [["hr", "16", "0.1"], ["hr", "64", "0.1"]] and "-," not in printed
    analysis = TinyFaceAnalysis(hr)
    [network] = analysis.networks
    entries = json.loads((hr.parent / "hr.thresholds.json").read_text())["recognition"]["entries"]
    [rows] = [one["rows"] for one in entries if one["protocol"] == "lr-hr"]
    expected = rows[0]["points"][0]["cosine"]
    assert analysis.calibration.threshold(Side(network, 40), Side(network, 112), 0.1) == (expected, 0.1, "")
    # A hundred impostor pairs support 10% and no less.
    assert analysis.calibration.threshold(Side(network, 40), Side(network, 112), 0.01).cosine is None
    common = needs("insightface.app.common")
    vector_D = np.random.default_rng(0).normal(size=analysis.dim).astype(np.float32)
    probe = common.Face(px=40.0, quality=0.4, network_id=network, embedded_by="hr", embedding=vector_D)
    gallery = Gallery.enrol({"a": common.Face(probe | {"px": 112.0})}, analysis)
    [match] = gallery.search([probe], far=0.1)
    assert match.name == "a" and match.threshold == expected


def test_thresholds_and_galleries_of_another_input_are_refused(hr, pairs, pack, photo_of, tmp_path, capsys):
    bgr = ("--model-input", "hr=color=bgr")
    assert calibrate(pairs, hr, more=bgr) == 0
    with pytest.raises(ValueError, match="belongs to another model"):
        TinyFaceAnalysis(hr)
    assert TinyFaceAnalysis(hr, inputs={"hr": {"color": "bgr"}}).calibration.fars
    (hr.parent / "hr.thresholds.json").unlink()
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "ann.jpg").write_bytes(encode_jpeg(photo_of(("large", 0, 0))))
    models = ["--models", str(hr), str(pack / "det_markers.onnx")]
    assert main(["enrol", str(tmp_path / "people"), "--out", str(tmp_path / "g.npz"), *models, *bgr]) == 0
    recognise = ["recognise", str(tmp_path / "people" / "ann.jpg"), "--gallery", str(tmp_path / "g.npz"), *models, "--json"]
    assert main(recognise) == 1
    assert "error: " in capsys.readouterr().err
    assert main([*recognise, *bgr]) == 0
    assert '"network": "hr"' in capsys.readouterr().out


@pytest.mark.parametrize("words", ["color=bgr", "hr", "=color=bgr", "hr=bgr"])
def test_model_input_names_the_model(words):
    with pytest.raises(ValueError, match="--model-input takes MODEL=HOW, for example w600k_r50=color=bgr"):
        read_inputs([words])


def test_model_input_takes_several_models_and_json():
    assert read_inputs(['hr={"std": 64}', "b=mean=(1, 2, 3),color=bgr"]) == {
        "hr": {"std": 64},
        "b": {"mean": (1, 2, 3), "color": "bgr"},
    }


def test_students_and_hr_are_measured_together(pack, pairs, tmp_path):
    assert calibrate(pairs, pack, more=("--out", tmp_path / "all.json")) == 0
    plain, measured = TinyFaceAnalysis(pack), TinyFaceAnalysis(pack, thresholds=tmp_path / "all.json")
    student, hr = (network.identity for network in measured.models.networks)
    section = read_section(tmp_path / "all.json")
    keys = {(one["network"], one["other"], one["protocol"]) for one in section["entries"]}
    assert keys == {(student, student, "lr-lr"), (student, hr, "lr-hr"), (hr, hr, "lr-lr"), (hr, hr, "lr-hr")}
    # The given file comes before the export's own; what it did not measure is still the export's.
    sides = Side(student, 20), Side(student, 20)
    assert measured.calibration.threshold(*sides, 0.1) != plain.calibration.threshold(*sides, 0.1)
    assert measured.calibration.threshold(*sides, 0.01).cosine is None


def test_largest_student_embeds_the_untouched_faces_where_there_is_no_hr_recogniser(hr, pairs, tmp_path):
    # The larger one is named first, and comes first by name too.
    students = [tmp_path / "a_large", tmp_path / "b_small"]
    for folder, side in zip(students, (32, 16), strict=True):
        write_export(folder, hr, seed=side, side=side)
        (folder / "thresholds.json").unlink()
    file = tmp_path / "t.json"
    assert calibrate(pairs, *students, more=("--out", file)) == 0
    analysis = TinyFaceAnalysis(students, thresholds=file)
    small, large = (network.identity for network in analysis.models.networks)
    assert (small, large, "lr-hr") in analysis.calibration.rows
    assert analysis.calibration.crossing(small, large) is not None


def test_thresholds_of_another_model_are_refused(hr, pairs):
    assert calibrate(pairs, hr) == 0
    write_hr(needs("onnx"), hr, seed=9)
    with pytest.raises(ValueError, match=r"hr.thresholds.json belongs to another model .* mean nothing for hr"):
        TinyFaceAnalysis(hr)


def test_given_thresholds_are_checked(hr, pairs, pack, tmp_path):
    assert calibrate(pairs, hr, more=("--out", tmp_path / "t.json")) == 0
    content = (tmp_path / "t.json").read_text()
    write_hr(needs("onnx"), tmp_path / "other.onnx", seed=9)
    cases = {
        "belongs to another model": content,
        "fewer than 10 / FAR": content.replace('"n_impostor": 100', '"n_impostor": 9'),
        "out of range": content.replace('"cosine": 0.', '"cosine": 3.'),
        "has another format": content.replace('"lr-lr"', '"pairs"'),
        "is no thresholds file": "[",
        "has no section": "{}",
        "was measured on crops": content.replace('"warp/1"', '"warp/0"'),
    }
    for message, text in cases.items():
        assert message == "belongs to another model" or text != content
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            TinyFaceAnalysis(tmp_path / "other.onnx", thresholds=tmp_path / "t.json")
    with pytest.raises(FileNotFoundError, match="aird calibrate"):
        TinyFaceAnalysis(pack, thresholds=tmp_path / "missing.json")


def test_networks_cross_only_where_they_were_measured_on_the_same_pairs():
    student = [entry("s", "h", "lr-hr", {16: 0.5, 32: 0.5}, 0.5), entry("h", "h", "lr-hr", {16: 0.5, 32: 0.5}, 0.9)]
    student[0]["rows"][0]["points"][1]["tar"] = 0.7
    alone = [entry("h", "h", "lr-hr", {12: 0.1, 20: 0.2, 64: 0.3}, 0.9)]
    both = Calibration(alone, student)
    assert both.crossing("s", "h") == 24.0
    assert Calibration(alone, student[:1]).crossing("s", "h") is None
    # The threshold is that of the first section.
    assert both.threshold(Side("h", 25), Side("h", 112), 0.01).cosine == 0.2


def test_wrong_arguments_are_errors_before_any_measurement(hr, pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("aird_plugin.recognition.measure.measure", None)
    few = tmp_path / "few.bin"
    jpeg = encode_jpeg(draw_person(0, 0))
    write_pairs(few, [jpeg] * 40, [True, False] * 10)
    cases = {
        "must lie between 4 and 112": (pairs, ("2", "16"), ()),
        "has 10 impostor pairs; 100 are needed": (few, ("16",), ()),
        "the thresholds are a .json file": (pairs, ("16",), ("--out", tmp_path / "t.txt")),
        "is no folder that can be written to": (pairs, ("16",), ("--out", tmp_path / "none" / "t.json")),
    }
    for message, (file, px, more) in cases.items():
        assert calibrate(file, hr, px=px, more=more) == 1
        assert message in capsys.readouterr().err
    write_export(tmp_path / "tiny", hr)
    assert main(["calibrate", str(tmp_path / "missing.bin"), "--models", str(hr)]) == 1
