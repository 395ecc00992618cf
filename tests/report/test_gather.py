import re
import shlex

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import parse
from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.protocol import Session
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.report.gather import Questions, gather
from aird_plugin.report.hard import best_threshold, blocks, hard_pairs
from aird_plugin.report.norms import measure_norms
from aird_plugin.report.people import nearest_is_same, people_map, pictures_of_people
from aird_plugin.report.sections.everything import commands


def ask(folders, **questions):
    return gather(folders, Questions(**questions), "aird report", "cpu")


def test_rows_are_those_of_aird_evaluate_and_their_commands_say_so(make_run, pairs_file, teacher_file, teacher):
    folders = [make_run("a-seed0"), make_run("a-seed1", 1), make_run("b", lr=1.0)]
    material = ask(folders, pairs=(pairs_file,), px=(16, 8), teacher=teacher_file)
    assert material.names == ["a", "b", "teacher"] and not material.notes
    plain = [answer for answer in material.answers if answer.plain]
    assert len(plain) == 4 * 2 * 2 and len(material.answers) == len(plain) + 2 * 2
    session = Session(None, pairs_file, teacher)
    repeated = [row for answer, command in commands(material.answers) for row in rows_of(command, session)]
    key = lambda row: (str(row["px"]), row["protocol"], str(row["facebn"]), str(row["centre"]), row["accuracy"], row["auc"])  # noqa: E731
    assert sorted(map(key, repeated)) == sorted(key(answer.row) for answer in material.answers)


def rows_of(command, session):
    """What the command would answer, by way of its own parser."""
    args = parse(shlex.split(command)[1:])
    asked = session.networks["teacher"] if args.model.endswith("teacher.pt") else load_model(args.model)
    session, extra = session.with_student(asked), {"centre": args.centre}
    if args.facebn:
        extra |= {"facebn": args.facebn, "keep": args.keep, "order": int(args.order)}
    assert args.pairs == [session.pairs_file]
    return [session.evaluate(px, protocol, args.high_side, **extra) for px in args.px for protocol in args.protocol]


@pytest.mark.parametrize(("changed", "facts", "why"), [
    ({"head_init": "random"}, {}, "without the teacher's coordinates"),
    ({}, {"teacher": "x"}, "without the teacher's coordinates"),
    ({}, {"teacher": None}, "without the teacher's coordinates"),
    ({}, {"teacher": {"sha256": "other", "file": "other.onnx"}}, r"another teacher \(other.onnx\)"),
])  # fmt: skip
def test_lr_hr_is_left_out_where_it_would_mean_nothing(make_run, pairs_file, teacher_file, changed, facts, why):
    material = ask([make_run("a", facts=facts, **changed)], pairs=(pairs_file,), teacher=teacher_file)
    assert {answer.row["protocol"] for answer in material.answers if answer.name == "a"} == {"lr-lr"}
    (note,) = material.notes
    assert re.search(why, note)


def test_without_a_teacher_the_students_answer_lr_lr_at_their_own_px(make_run, pairs_file):
    material = ask([make_run("a"), make_run("b", 1, lr=1.0, weights=False)], pairs=(pairs_file,))
    assert {(answer.name, answer.row["px"], answer.row["protocol"]) for answer in material.answers} == {("a", 16, "lr-lr")}
    told = " ".join(material.notes)
    assert "b has no model.pt" in told and "give --teacher" in told


def test_nobody_to_ask_is_told(make_run, pairs_file):
    with pytest.raises(ValueError, match="no run given has a model.pt"):
        ask([make_run("a", weights=False)], pairs=(pairs_file,))


def test_without_pairs_the_runs_own_results_stand(make_run, tmp_path):
    folder = make_run("a", teacher="t.onnx")
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-hr", "high_side": "teacher", "n_pairs": 9, "accuracy": 9, "ci95": [8, 9]}
    (tmp_path / "a" / "evaluation.json").write_text(f"[{row}]".replace("'", '"'))
    material = ask([folder])
    assert [answer.row for answer in material.answers] == [row] and material.focus is None
    assert commands(material.answers)[0][1].endswith("--protocol lr-hr --high-side teacher --teacher t.onnx")


def test_pictures_may_be_left_out(make_run, pairs_file):
    folder = make_run("a")
    assert ask([folder], pairs=(pairs_file,)).focus.hard
    assert not ask([folder], pairs=(pairs_file,), faces=False).focus.hard


def test_genuine_pairs_chain_pictures_into_people():
    face_2N = np.array([0, 1, 1, 3, 4, 5, 0, 4])
    assert pictures_of_people(face_2N, np.array([True, True, False, False])) == [[0, 1, 3], [4], [5]]


def test_the_nearest_neighbour_is_sought_in_the_full_width():
    embeddings_MD = np.array([[1, 0, 0], [0.9, 0.436, 0], [0, 0, 1], [0, 0.6, 0.8], [0.95, 0, 0.312]])
    assert nearest_is_same(embeddings_MD, np.array([0, 0, 1, 1, 1])) == pytest.approx(0.6)
    rng = np.random.default_rng(0)
    mapped = people_map("a", rng.normal(size=(12, 6)), np.arange(12) // 4)
    assert mapped.place_M2.shape == (12, 2) and np.isfinite(mapped.place_M2).all() and mapped.how


def test_the_best_threshold_is_that_of_a_search():
    rng = np.random.default_rng(0)
    for _ in range(30):
        same_N = rng.random(20) < 0.5
        cosine_N = (rng.integers(-9, 7, 20) + 2 * same_N) / 10
        tried = [np.mean((cosine_N > t) == same_N) for t in (-1, *cosine_N, 1)]
        assert np.mean((cosine_N > best_threshold(cosine_N, same_N)) == same_N) == pytest.approx(max(tried))


def test_the_hardest_pairs_are_the_most_wrong_of_each_kind(noise_faces):
    same_N = np.array([True] * 10 + [False] * 10)
    cosine_N = np.where(same_N, 0.7, 0.1) + np.linspace(0, 0.01, 20)
    cosine_N[3], cosine_N[15] = -0.5, 0.9
    shown = hard_pairs({"a": cosine_N, "b": cosine_N}, same_N, noise_faces(40), 16, "bicubic")
    assert [(pair.number, pair.same) for pair in shown] == [(3, True), (15, False)]
    assert all(not right for pair in shown for _, _, right in pair.verdicts) and all(p.low[0][:4] == b"\x89PNG" for p in shown)


def test_a_low_picture_keeps_its_pixels(noise_faces):
    assert np.array_equal(blocks(noise_faces(2, 16))[:, ::7, ::7], noise_faces(2, 16))
    assert blocks(noise_faces(2, 16)).shape == (2, 112, 112, 3) and blocks(noise_faces(2, 64)).shape[1] == 64


def test_norms_are_the_distance_of_the_faces_mean_and_facebn_halves_it(noise_faces):
    student = build("native16_0.05m", 8).eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    faces = noise_faces(32, 16)
    norms = measure_norms("a", student, faces, 0.5, 32, "cpu")
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    first, seen = next(iter(norms.before)), []
    layer = student.get_submodule(first)
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = to_input(torch.from_numpy(faces))
    with torch.no_grad():
        student(torch.cat([x, x.flip(3)]))
    hook.remove()
    gap = ((seen[0].mean((0, 2, 3)) - layer.running_mean) / (layer.running_var + layer.eps).sqrt()).numpy()
    np.testing.assert_allclose(norms.before[first], gap, rtol=1e-3, atol=1e-5)
    assert np.sign(norms.after[first]).tolist() == np.sign(gap).tolist()
    assert len(norms.before) == sum(isinstance(module, torch.nn.BatchNorm2d) for module in student.modules())


def test_scores_belong_to_the_row(make_run, pairs_file):
    material = ask([make_run("a")], pairs=(pairs_file,))
    answer = material.answers[0]
    session = Session(build("native16_0.05m", 8), pairs_file)
    assert answer.scores.same_N.tolist() == session.same_N.tolist()
    right = (answer.scores.cosine_N > best_threshold(answer.scores.cosine_N, answer.scores.same_N)) == answer.scores.same_N
    assert 100 * right.mean() == pytest.approx(answer.row["accuracy_best"])
