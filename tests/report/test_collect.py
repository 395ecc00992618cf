import json
import re
import shlex

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import parse
from aird_plugin.cli.input_arguments import parse_input
from aird_plugin.data.images import encode_jpeg, resized
from aird_plugin.data.lowres import to_input
from aird_plugin.data.pairs import write_pairs
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.report.batchnorm_shift import measure_batchnorm_shift
from aird_plugin.report.collect import gather
from aird_plugin.report.data import EvalResult, ReportOptions
from aird_plugin.report.embedding_map import identity_map, images_by_identity, nearest_is_same
from aird_plugin.report.hard_pairs import best_threshold, blocks, hard_pairs
from aird_plugin.report.sections.all_results import commands
from aird_plugin.utils.files import file_sha256
from tests.evaluation.test_equal_embeddings import Centre
from tests.evaluation.test_equal_embeddings import pairs_of as framed_pairs


def collect(folders, **options):
    return gather(folders, ReportOptions(**options), "aird report", "cpu")


def test_images_smaller_than_an_evaluation_takes_them_are_noted_and_printed(make_run, noise_faces, tmp_path, capsys):
    """`aird evaluate` prints this warning, and the report upsampled such images without a word."""
    faces = [resized(face, 50) for face in noise_faces(38)] + list(noise_faces(2))
    small = tmp_path / "small.bin"
    write_pairs(small, [encode_jpeg(face) for face in faces], [True, False] * 10)
    notes = collect([make_run("a")], pairs=(str(small),), px=(16, 64)).notes
    [note] = [note for note in notes if "upsampled" in note]
    assert note.startswith(f"38 of the 40 images of {small} have fewer than 64 px, the smallest 50: they")
    assert f"WARNING {note.rstrip('.')}\n" in capsys.readouterr().err
    assert not [note for note in collect([make_run("b")], pairs=(str(small),), px=(16,)).notes if "upsampled" in note]


def test_copies_that_only_embeddings_show_are_noted_and_printed(make_run, tmp_path, monkeypatch, capsys):
    """`aird evaluate` finds them after it has embedded the images; the report looked before. One note for two methods."""
    from aird_plugin.report import models

    monkeypatch.setattr(models, "load_model", lambda *args, **options: Centre())
    copies = framed_pairs(tmp_path / "copies.bin", (2, 3, 4))
    notes = collect([make_run("a"), make_run("b", lr=1.0)], pairs=(str(copies),), px=(112,)).notes
    [note] = [note for note in notes if "the same embedding" in note]
    assert note.startswith(f"2 of 10 genuine and 1 of 10 impostor pairs of {copies} are two files with the same embedding")
    assert capsys.readouterr().err.count(f"WARNING {note.rstrip('.')}\n") == 1


def test_commands_reproduce_the_rows(make_run, pairs_file, teacher_file, teacher):
    folders = [make_run("a-seed0"), make_run("a-seed1", 1), make_run("b", lr=1.0)]
    data = collect(folders, pairs=(pairs_file,), px=(16, 8), teacher=teacher_file)
    assert data.names == ["a", "b", "teacher"] and not data.notes
    plain = [result for result in data.results if result.plain]
    assert len(plain) == 4 * 2 * 2 and len(data.results) == len(plain) + 2 * 2
    evaluator = PairEvaluator(None, pairs_file, teacher)
    repeated = [row for result, command in commands(data.results) for row in rows_of(command, evaluator)]
    key = lambda row: (str(row["px"]), row["protocol"], str(row["facebn"]), str(row["centre"]), row["accuracy"], row["auc"])  # noqa: E731
    assert sorted(map(key, repeated)) == sorted(key(result.row) for result in data.results)


def rows_of(command, evaluator):
    """What the command would result, by way of its own parser."""
    args = parse(shlex.split(command)[1:])
    student = evaluator.networks["teacher"] if args.model.endswith("teacher.pt") else load_model(args.model)
    evaluator, extra = evaluator.with_student(student), {"centre": args.centre}
    if args.facebn:
        extra |= {"facebn": args.facebn, "keep": args.keep, "order": int(args.order)}
    assert args.pairs == [evaluator.pairs_file]
    return [evaluator.evaluate(px, protocol, args.high_side, **extra) for px in args.px for protocol in args.protocol]


@pytest.mark.parametrize(
    ("recipe", "metadata", "reason"),
    [
        ({"head_init": "random"}, {}, "not trained in the teacher's embedding space"),
        ({}, {"teacher": "x"}, "not trained in the teacher's embedding space"),
        ({}, {"teacher": None}, "not trained in the teacher's embedding space"),
        ({}, {"teacher": {"sha256": "other", "file": "other.onnx"}}, r"another teacher \(other.onnx\)"),
    ],
)
def test_lr_hr_is_left_out_for_other_embedding_spaces(make_run, pairs_file, teacher_file, recipe, metadata, reason):
    data = collect([make_run("a", metadata=metadata, **recipe)], pairs=(pairs_file,), teacher=teacher_file)
    assert {result.row["protocol"] for result in data.results if result.name == "a"} == {"lr-lr"}
    (note,) = data.notes
    assert re.search(reason, note)


def test_other_teacher_is_noted_where_no_row_needs_it(make_run, pairs_file, teacher_file):
    other = {"teacher": {"sha256": "0" * 16, "file": "other.onnx"}}
    options = {"pairs": (pairs_file,), "teacher": teacher_file, "high_side": "student", "px": (16,)}
    assert collect([make_run("b")], **options).notes == []
    assert collect([make_run("a", metadata=other)], **options).notes == [
        "The teacher shown is not the one that a was trained with."
    ]


def test_no_teacher_evaluates_lr_lr_at_training_px(make_run, pairs_file):
    data = collect([make_run("a"), make_run("b", 1, lr=1.0, weights=False)], pairs=(pairs_file,))
    assert {(result.name, result.row["px"], result.row["protocol"]) for result in data.results} == {("a", 16, "lr-lr")}
    notes = " ".join(data.notes)
    assert "b has no model.pt" in notes and "give --teacher" in notes


def test_no_finished_run_is_rejected(make_run, pairs_file):
    with pytest.raises(ValueError, match="none of the runs has a model.pt that took a step"):
        collect([make_run("a", weights=False)], pairs=(pairs_file,))


def test_no_pairs_uses_evaluation_json(make_run, tmp_path):
    folder = make_run("a", teacher="t.onnx")
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-hr", "high_side": "teacher", "n_pairs": 9, "accuracy": 9, "ci95": [8, 9]}
    (tmp_path / "a" / "evaluation.json").write_text(f"[{row}]".replace("'", '"'))
    data = collect([folder])
    assert [result.row for result in data.results] == [row] and data.focus is None
    assert commands(data.results)[0][1].endswith("--protocol lr-hr --high-side teacher --teacher t.onnx")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"teacher": "t.onnx", "teacher_input": {"color": "bgr"}}, ["t.onnx", {"color": "bgr"}, None]),
        ({"teacher": ["t.onnx", "u.onnx"], "teacher_join": "concat"}, [("t.onnx", "u.onnx"), None, "concat"]),
        (
            {"teacher": ["t.onnx", "u.onnx"], "teacher_input": [None, {"std": 128}]},
            [("t.onnx", "u.onnx"), ({}, {"std": 128}), None],
        ),
    ],
)
def test_commands_state_how_the_teacher_is_fed_and_joined(make_run, tmp_path, recipe, words):
    """Without it the command ran, and gave other figures."""
    folder = make_run("a", **recipe)
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-hr", "high_side": "teacher", "n_pairs": 9, "accuracy": 9, "ci95": [8, 9]}
    (tmp_path / "a" / "evaluation.json").write_text(json.dumps([row]))
    args = parse(shlex.split(commands(collect([folder]).results)[0][1])[1:])
    texts = args.teacher_input if isinstance(args.teacher_input, tuple) else (args.teacher_input,)
    fed = tuple(parse_input("--teacher-input", text) for text in texts)
    assert [args.teacher, fed if len(fed) > 1 else fed[0], args.teacher_join] == words


@pytest.mark.parametrize("file", ["t.onnx", "t.pt"])
def test_command_of_the_teacher_itself_states_its_input(file):
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-lr", "high_side": None}
    [(_, command)] = commands([EvalResult("teacher", None, file, file, row, teacher_input={"color": "bgr"})])
    assert parse_input("--input", parse(shlex.split(command)[1:]).input) == {"color": "bgr"}


def test_command_of_a_run_as_the_teacher_states_no_input(make_run):
    """`aird evaluate` refuses one."""
    run, row = make_run("t"), {"pairs": "lfw.bin", "px": 16, "protocol": "lr-lr", "high_side": None}
    for path in (run, f"{run}/model.pt"):
        [(_, command)] = commands([EvalResult("teacher", None, path, path, row, teacher_input={"color": "bgr"})])
        assert "--input" not in command


def test_students_adapted_to_the_test_file_are_noted(make_run, pairs_file):
    adapted = {"source_sha256": file_sha256(pairs_file)}
    folders = make_run("a"), make_run("b", lr=1.0, metadata={"adapted": {"source_sha256": None, "earlier": [adapted]}})
    notes = [note for note in collect(folders, pairs=(pairs_file,), px=(16,)).notes if "adapted" in note]
    assert len(notes) == 1 and notes[0].startswith(f"{folders[1]} was adapted to the images of {pairs_file} itself")


def test_hard_pairs_can_be_left_out(make_run, pairs_file):
    folder = make_run("a")
    assert collect([folder], pairs=(pairs_file,)).focus.hard
    assert not collect([folder], pairs=(pairs_file,), faces=False).focus.hard


def test_genuine_pairs_link_images_into_identities():
    face_2N = np.array([0, 1, 1, 3, 4, 5, 0, 4])
    assert images_by_identity(face_2N, np.array([True, True, False, False])) == [[0, 1, 3], [4], [5]]


def test_nearest_neighbour_uses_the_full_width():
    embeddings_MD = np.array([[1, 0, 0], [0.9, 0.436, 0], [0, 0, 1], [0, 0.6, 0.8], [0.95, 0, 0.312]])
    assert nearest_is_same(embeddings_MD, np.array([0, 0, 1, 1, 1])) == pytest.approx(0.6)
    rng = np.random.default_rng(0)
    projected = identity_map("a", rng.normal(size=(12, 6)), np.arange(12) // 4)
    assert projected.point_M2.shape == (12, 2) and np.isfinite(projected.point_M2).all() and projected.how


def test_best_threshold_equals_exhaustive_search():
    rng = np.random.default_rng(0)
    for _ in range(30):
        same_N = rng.random(20) < 0.5
        cosine_N = (rng.integers(-9, 7, 20) + 2 * same_N) / 10
        accuracies = [np.mean((cosine_N > t) == same_N) for t in (-1, *cosine_N, 1)]
        assert np.mean((cosine_N > best_threshold(cosine_N, same_N)) == same_N) == pytest.approx(max(accuracies))


def test_hard_pairs_are_the_most_wrong_of_each_kind(noise_faces):
    same_N = np.array([True] * 10 + [False] * 10)
    cosine_N = np.where(same_N, 0.7, 0.1) + np.linspace(0, 0.01, 20)
    cosine_N[3], cosine_N[15] = -0.5, 0.9
    shown = hard_pairs({"a": cosine_N, "b": cosine_N}, same_N, noise_faces(40), 16, "bicubic")
    assert [(pair.number, pair.same) for pair in shown] == [(3, True), (15, False)]
    assert all(not correct for pair in shown for _, _, correct in pair.decisions) and all(
        p.low[0][:4] == b"\x89PNG" for p in shown
    )


def test_collapsed_network_ranks_no_pair(noise_faces):
    same_N = np.array([True] * 10 + [False] * 10)
    cosine_N = np.where(same_N, 0.7, 0.1) + np.linspace(0, 0.01, 20)
    cosine_N[3], cosine_N[15] = -0.5, 0.9
    shown = hard_pairs({"a": cosine_N, "dead": np.ones(20)}, same_N, noise_faces(40), 16, "bicubic")
    assert [(pair.number, pair.same) for pair in shown] == [(3, True), (15, False)]
    assert hard_pairs({}, same_N, noise_faces(40), 16, "bicubic") == []


def test_map_of_equal_embeddings_needs_no_spread(monkeypatch):
    monkeypatch.setattr("aird_plugin.report.embedding_map._tsne", lambda e: (np.full((len(e), 2), np.nan), "t-SNE"))
    assert np.isfinite(identity_map("a", np.ones((12, 4)) / 2, np.arange(12) // 4).point_M2).all()


def test_blocks_repeat_pixels(noise_faces):
    assert np.array_equal(blocks(noise_faces(2, 16))[:, ::7, ::7], noise_faces(2, 16))
    assert blocks(noise_faces(2, 16)).shape == (2, 112, 112, 3) and blocks(noise_faces(2, 64)).shape[1] == 64


def test_batchnorm_shift_is_the_distance_of_means_before_and_after_facebn(noise_faces):
    student = build("native16_0.05m", 8).eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    images = noise_faces(32, 16)
    shift = measure_batchnorm_shift("a", student, images, 0.5, 32, "cpu")
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    first, inputs = next(iter(shift.before)), []
    layer = student.get_submodule(first)
    hook = layer.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    x = to_input(torch.from_numpy(images))
    with torch.no_grad():
        student(torch.cat([x, x.flip(3)]))
    hook.remove()
    gap = ((inputs[0].mean((0, 2, 3)) - layer.running_mean) / (layer.running_var + layer.eps).sqrt()).numpy()
    np.testing.assert_allclose(shift.before[first], gap, rtol=1e-3, atol=1e-5)
    assert np.sign(shift.after[first]).tolist() == np.sign(gap).tolist()
    assert len(shift.before) == sum(isinstance(module, torch.nn.BatchNorm2d) for module in student.modules())


def test_scores_match_the_row(make_run, pairs_file):
    data = collect([make_run("a")], pairs=(pairs_file,))
    result = data.results[0]
    evaluator = PairEvaluator(build("native16_0.05m", 8), pairs_file)
    assert result.scores.same_N.tolist() == evaluator.same_N.tolist()
    correct = (result.scores.cosine_N > best_threshold(result.scores.cosine_N, result.scores.same_N)) == result.scores.same_N
    assert 100 * correct.mean() == pytest.approx(result.row["accuracy_best"])
