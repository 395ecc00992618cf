import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main, parse
from aird_plugin.cli.compare import run
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.comparison import add_conclusions, sentence, short_names
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.utils.vectors import normalise
from tests.evaluation.test_equal_embeddings import Centre, Collapsed
from tests.evaluation.test_equal_embeddings import pairs_of as framed_pairs

NATIVE = "native16_0.05m"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two runs of native students, one of another width, and a teacher of 112 px."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, width) in enumerate((("one", 8), ("two", 8), ("wide", 12))):
        (folder / name).mkdir()
        torch.manual_seed(seed)
        torch.save(build(NATIVE, width).state_dict(), folder / name / "model.pt")
        (folder / name / "recipe.json").write_text(json.dumps({"network": NATIVE, "embedding_size": width, "px": 16}))
    torch.save(build("mfn", 8).state_dict(), folder / "teacher.pt")
    return folder


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    """Ten pairs, five of one identity each; all images differ, so the images of the other five pairs count as ten identities."""
    path = tmp_path_factory.mktemp("pairs") / "ten.bin"
    labels = [(0, 0), (0, 1), (1, 1), (0, 2), (2, 2), (1, 3), (3, 3), (2, 4), (4, 4), (3, 0)]
    images = [encode_jpeg(draw_person(label, index)) for index, label in enumerate(np.ravel(labels).tolist())]
    write_pairs(path, images, [a == b for a, b in labels])
    return str(path)


def command(*words):
    return run(parse(["compare", *map(str, words)]))


def rows_of(file):
    return json.loads(file.read_text())


def test_a_setting_given_twice_is_one_test(models, pairs_file, tmp_path, monkeypatch):
    """Holm's correction counted it twice."""
    monkeypatch.chdir(Path(pairs_file).parent)
    files = ["--pairs", pairs_file, "ten.bin"]
    assert command(models / "one", models / "two", *files, "--px", 16, 16, "--json", tmp_path / "rows.json") == 0
    [row] = rows_of(tmp_path / "rows.json")
    assert row["tests"] == 1 and row["p_holm"] == row["p"]


def test_files_of_one_name_are_told_apart_by_their_folders(models, pairs_file, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    pairs = read_pairs(pairs_file)
    write_pairs(tmp_path / "other" / "ten.bin", pairs.images[::-1], pairs.same[::-1])
    assert command(models / "one", models / "two", "--pairs", pairs_file, tmp_path / "other" / "ten.bin", "--px", 16) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pairs ")]
    assert [head.split(",")[0] for head in heads] == [f"pairs {Path(pairs_file).parent.name}/ten.bin", "pairs other/ten.bin"]


def test_each_two_models_are_compared_in_each_evaluation(models, pairs_file, tmp_path, capsys):
    names = ["one", "two", "wide"]
    paths = [models / name for name in names]
    assert command(*paths, "--pairs", pairs_file, "--px", 8, 16, "--json", tmp_path / "rows.json") == 0
    rows = rows_of(tmp_path / "rows.json")
    expected = [(px, a, b) for px in (8, 16) for a, b in (("one", "two"), ("one", "wide"), ("two", "wide"))]
    assert [(row["px"], row["a"], row["b"]) for row in rows] == expected
    assert all(row["tests"] == 6 and row["p_holm"] >= row["p"] for row in rows)
    text = capsys.readouterr().out
    assert all(row["sentence"] in text.splitlines() for row in rows) and "10 pairs of 15 identities" in text
    alone = {
        name: PairEvaluator(load_model(path), pairs_file).evaluate(16, "lr-lr") for name, path in zip(names, paths, strict=True)
    }
    for row in rows[3:]:
        assert row["accuracy_a"] == pytest.approx(alone[row["a"]]["accuracy"])
        assert row["accuracy_b"] == pytest.approx(alone[row["b"]]["accuracy"])
        assert row["difference"] == pytest.approx(row["accuracy_a"] - row["accuracy_b"])
        assert row["resize"] == alone[row["a"]]["resize"]


def test_every_option_reaches_the_rows(models, pairs_file, tmp_path):
    command(
        models / "one",
        models / "two",
        "--pairs",
        pairs_file,
        "--px",
        16,
        "--protocol",
        "lr-hr",
        "--high-side",
        "teacher",
        "--teacher",
        models / "teacher.pt",
        "--facebn",
        "full",
        "--keep",
        0.3,
        "--include-bn1d",
        "--order",
        7,
        "--centre",
        "--batch",
        20,
        "--degradation",
        "blur",
        "--json",
        tmp_path / "rows.json",
    )
    [row] = rows_of(tmp_path / "rows.json")
    wanted = {"px": 16, "protocol": "lr-hr", "facebn": "full", "keep": 0.3, "order": 7, "batch": 20, "degradation": "blur"}
    assert wanted.items() <= row.items() and row["centre"] is True and row["include_bn1d"] is True
    assert (row["high_side_a"], row["high_side_b"]) == ("teacher", "teacher")


def test_the_teacher_can_be_compared_and_rows_name_each_high_side(models, pairs_file, tmp_path):
    words = ["--pairs", pairs_file, "--px", 16, "--protocol", "lr-hr", "--teacher", models / "teacher.pt"]
    command(models / "one", models / "teacher.pt", *words, "--json", tmp_path / "rows.json")
    [row] = rows_of(tmp_path / "rows.json")
    assert (row["high_side_a"], row["high_side_b"]) == ("teacher", "student")


def test_the_teacher_embeds_images_once_for_all_models(models, pairs_file, monkeypatch):
    from aird_plugin.evaluation import pair_evaluator

    labels = []
    original = pair_evaluator.embed_frozen

    def counted(*args, label, **options):
        labels.append(label)
        return original(*args, label=label, **options)

    monkeypatch.setattr(pair_evaluator, "embed_frozen", counted)
    words = ["--pairs", pairs_file, "--px", 8, 16, "--protocol", "lr-hr", "--teacher", models / "teacher.pt"]
    command(models / "one", models / "two", *words)
    assert labels.count("teacher, 112 px") == 1 and labels.count("student, 16 px") == 2


def test_copies_that_only_embeddings_show_are_a_warning(models, tmp_path, monkeypatch, capsys):
    """`aird evaluate` warns of them, and a comparison looked before any image was embedded. One warning for two models."""
    networks = iter([Collapsed(), Centre(), Centre()])
    monkeypatch.setattr("aird_plugin.models.load.load_model", lambda *args: next(networks))
    copies = framed_pairs(tmp_path / "copies.bin", (2, 3, 4))
    command(models / "one", models / "two", models / "wide", "--pairs", copies, "--px", 112)
    warning = f"WARNING 2 of 10 genuine and 1 of 10 impostor pairs of {copies} are two files with the same embedding"
    assert capsys.readouterr().err.count(warning) == 1


def test_a_model_equals_itself(models, pairs_file, tmp_path, capsys):
    command(models / "one", models / "one", "--pairs", pairs_file, "--px", 16, "--json", tmp_path / "rows.json")
    [row] = rows_of(tmp_path / "rows.json")
    assert (row["a"], row["b"], row["difference"], row["p"], row["beats"]) == ("one", "one (2)", 0, 1, None)
    assert row["sentence"].startswith("these data cannot tell one from one (2): they judge all 10 pairs alike")


ROW = {
    "a": "new",
    "b": "old",
    "difference": -1.234,
    "ci95": [-2.5, -0.1],
    "p_holm": 0.0123,
    "tests": 1,
    "a_only": 5,
    "b_only": 30,
    "n_pairs": 2000,
    "beats": "old",
    "least_to_show": 1.21,
}


def test_sentence_of_a_significant_and_of_an_insignificant_difference():
    assert sentence(ROW) == "old beats new (difference -1.23 points, 95% interval -2.50..-0.10, p 0.012)"
    assert sentence(ROW | {"beats": None, "tests": 3, "p_holm": 0.2}) == (
        "these data cannot tell new from old (difference -1.23 points, 95% interval -2.50..-0.10, p 0.2 after Holm's correction "
        "for 3 tests); a difference of about 1.2 points would have been seen"
    )


def test_p_is_corrected_for_all_tests_of_the_command():
    """The first row is significant by itself alone."""
    rows = [ROW | {"p": p, "ci95": [-2.5, -0.1]} for p in (0.03, 0.001, 0.6)]
    add_conclusions(rows)
    assert [row["p_holm"] for row in rows] == pytest.approx([0.06, 0.003, 0.6])
    assert [row["beats"] for row in rows] == [None, "old", None]
    add_conclusions(rows[:1])
    assert rows[0]["beats"] == "old" and rows[0]["least_to_show"] == pytest.approx(1.266)


def test_command_reports_the_better_model(models, tmp_path, monkeypatch):
    """The run "wide" gets perfect embeddings, the run "one" noise."""
    images = [encode_jpeg(np.full((112, 112, 3), grey, np.uint8)) for grey in range(120)]
    write_pairs(tmp_path / "sixty.bin", images, [True, False] * 30)

    def embeddings(self, spec):
        if not self.networks["student"].perfect:
            return normalise(np.random.default_rng(0).normal(size=(120, 8)))
        e_2N2 = np.tile([1.0, 0.0], (120, 1))
        e_2N2[3::4] *= -1
        return e_2N2

    def load(path, network, device, model_input):
        student = load_model(path)
        student.perfect = path.endswith("wide")
        return student

    monkeypatch.setattr(PairEvaluator, "embeddings", embeddings)
    monkeypatch.setattr("aird_plugin.models.load.load_model", load)
    for order in (("one", "wide"), ("wide", "one")):
        words = ["--pairs", tmp_path / "sixty.bin", "--px", 16, "--json", tmp_path / "rows.json"]
        command(*(models / name for name in order), *words)
        [row] = rows_of(tmp_path / "rows.json")
        assert row["beats"] == "wide" and row["sentence"].startswith("wide beats one (difference ")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/a/model.pt", "y/b/model.pt", "z.onnx"], ["a/model.pt", "b/model.pt", "z.onnx"]),
        (["model.pt", "a/model.pt"], ["model.pt", "a/model.pt"]),
        (["runs/a/", "runs//a", "runs/b", "./runs/a"], ["a", "a (2)", "b", "a (3)"]),
    ],
)
def test_short_names_are_the_shortest_distinct_suffixes(paths, names):
    assert short_names(paths) == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one"], "two models or more, got .*one alone"),
        (["one", "nowhere"], "no model at .*nowhere"),
        (["one", "two", "--keep", "0.1"], "--keep weighs"),
        (["one", "two", "--px", "2"], "px is"),
        (["one", "two", "--protocol", "lr-hr"], "needs a teacher"),
        (["one", "two", "--pairs", "none.bin"], "no pairs file at none.bin"),
        (["one", "two", "--recipe", "none.py"], "no recipe none.py"),
    ],
)
def test_bad_input_is_rejected_before_any_work(models, pairs_file, words, message, monkeypatch):
    monkeypatch.setattr(PairEvaluator, "__init__", lambda *args: pytest.fail("work began"))
    paths = [str(models / word) if word in ("one", "two", "nowhere") else word for word in words]
    pairs = [] if "--pairs" in words else ["--pairs", pairs_file]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        command(*paths, *pairs, *([] if "--px" in words else ["--px", 16]))


def test_student_of_another_width_than_the_teacher_is_named(models, pairs_file, capsys):
    words = ["--pairs", pairs_file, "--px", "16", "--protocol", "lr-hr", "--teacher", str(models / "teacher.pt")]
    assert main(["compare", str(models / "one"), str(models / "wide"), *words]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: wide: the student's embeddings are 12 wide, the teacher's 8")


def test_network_is_that_of_the_bare_file_beside_a_run(models, pairs_file, tmp_path):
    torch.save(build("native16_0.1m", 8).state_dict(), tmp_path / "bare.pt")
    words = ["--pairs", pairs_file, "--px", 16, "--network", "native16_0.1m"]
    assert command(models / "one", tmp_path / "bare.pt", *words) == 0


def test_a_model_named_teacher_is_not_taken_for_the_teacher():
    first, second = short_names(["runs/teacher", "runs/a"], taken="teacher")
    assert (first, second) == (str(Path("runs/teacher").absolute()), "a")
