import hashlib
import json

import pytest

from aird_plugin.report.runs import differences, group, read_curves, read_run
from aird_plugin.report.sections.negatives import families


def methods_of(*folders):
    return group([read_run(folder) for folder in folders])


def test_runs_that_differ_in_the_seed_form_one_method(make_run):
    methods = methods_of(make_run("aird-seed0"), make_run("aird-seed10", 10), make_run("warm-seed0", lr=0.2))
    assert [(m.name, [run.seed for run in m.runs]) for m in methods] == [("aird", [0, 10]), ("warm", [0])]


def test_keys_that_do_not_change_the_weights_are_ignored(make_run):
    assert len(methods_of(make_run("a", frequent=1, bank="x"), make_run("b", 1, frequent=2, bank="y"))) == 1


def test_run_of_an_older_version_is_a_seed_of_the_same_method(make_run):
    """It lacks newer keys and has former names of terms; its seed was another method, without a spread."""
    old = make_run("a-seed0", terms={"iid": "aird_plugin.losses.instance:Instance"})
    new = make_run("a-seed1", 1, terms={"iid": "aird_plugin.losses.instance:IID"}, weight_average=0.0)
    assert len(methods_of(old, new)) == 1
    own = make_run("b", terms={"own": "not_installed_here:Term"})
    assert "terms" in differences(methods_of(old, own))


def test_adapted_run_is_another_method(make_run):
    assert len(methods_of(make_run("a"), make_run("b", metadata={"adapted": {"keep": 0.9}}))) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"records": {"sha256": "b" * 64}},
        {"teacher": {"sha256": "b" * 16}},
        {"teacher": {"sha256": "a" * 16, "input": {"color": "bgr"}}},
        {"student_init": {"sha256": "b" * 64}},
        {"resize": "realworld/2"},
    ],
)
def test_runs_on_other_files_under_the_same_paths_are_other_methods(make_run, metadata):
    """Their mean was reported as one over seeds."""
    first = {"records": {"sha256": "a" * 64}, "teacher": {"sha256": "a" * 16}, "student_init": None, "resize": "realworld/1"}
    folders = make_run("x-seed0", metadata=first), make_run("x-seed1", 1, metadata=first | {"teacher": {"sha256": "a" * 64}})
    methods = methods_of(*folders, make_run("x-seed2", 2, metadata=first | metadata))
    assert [[run.seed for run in method.runs] for method in methods] == [[0, 1], [2]]
    assert len(differences(methods)) == 1


def test_rows_of_other_weights_than_the_model_are_left_out(make_run, tmp_path):
    """resume=False, or a longer run without val_targets, replaces model.pt and leaves evaluation.json."""
    folder = make_run("a")
    now = hashlib.sha256((tmp_path / "a" / "model.pt").read_bytes()).hexdigest()
    made = [{"sha256": {"student": digest}} for digest in (now, "f" * 64)]
    rows = [GOOD | {"made": one} for one in made] + [GOOD, GOOD | {"made": {"sha256": {"student": now, "teacher": "e" * 64}}}]
    (tmp_path / "a" / "evaluation.json").write_text(json.dumps(rows))
    run = read_run(folder)
    assert run.rows == [rows[0], *rows[2:]] and run.outdated == 1
    (tmp_path / "a" / "model.pt").unlink()
    assert read_run(folder).outdated == 0


def test_methods_with_equal_names_use_their_folders(make_run):
    folders = make_run("x/student"), make_run("y/student", lr=0.2)
    assert [method.name for method in methods_of(*folders)] == list(folders)


def test_name_of_digits_is_kept(make_run):
    assert [method.name for method in methods_of(make_run("seed0"), make_run("2024", lr=0.2))] == ["seed0", "2024"]


def test_duplicate_run_is_rejected(make_run):
    folder = make_run("a")
    with pytest.raises(ValueError, match="given twice"):
        methods_of(folder, folder + "/")


def test_two_runs_of_one_recipe_and_seed_are_not_two_seeds(make_run):
    with pytest.raises(ValueError, match="a and .*b are runs of one recipe with the same seed, 3: they would count as two seeds"):
        methods_of(make_run("a", 3), make_run("b", 3))
    assert len(methods_of(make_run("c", 3), make_run("d", 4), make_run("e", 3, lr=0.2))) == 2


def test_differences_list_varying_keys(make_run):
    assert differences(methods_of(make_run("a"), make_run("b", 1, lr=0.2, rid_negatives=4))) == {
        "lr": [0.1, 0.2],
        "rid_negatives": [None, 4],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a JSON"),
        ("{", "is not a JSON"),
        ("[" * 100_000, "is not a JSON"),
        ("[]", "holds no recipe"),
        ('{"recipe": []}', "holds no recipe"),
        ("null", "holds no recipe"),
    ],
)
def test_broken_recipe_is_rejected(make_run, tmp_path, text, message):
    folder = make_run("a")
    (tmp_path / "a" / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_folder_without_recipe_is_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        read_run(str(tmp_path))


GOOD = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-lr", "n_pairs": 40, "accuracy": 90.0, "ci95": [80.0, 95.0]}


@pytest.mark.parametrize(
    "rows",
    [
        {},
        [1],
        [GOOD | {"accuracy": None}],
        [GOOD | {"ci95": []}],
        [GOOD | {"ci95": [float("nan"), 1]}],
        [GOOD | {"px": "16"}],
        [GOOD | {"px": 0}],
        [GOOD | {"n_pairs": 0}],
        [GOOD | {"accuracy": 101}],
        [GOOD | {"accuracy": 10**400}],
        [GOOD | {"ci95": 9}],
        [GOOD | {"pairs": 1}],
    ],
)
def test_broken_results_are_rejected(make_run, tmp_path, rows):
    folder = make_run("a")
    (tmp_path / "a" / "evaluation.json").write_text(json.dumps([GOOD]))
    assert read_run(folder).rows == [GOOD]
    (tmp_path / "a" / "evaluation.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="not a list of results"):
        read_run(folder)


def test_curves_skip_non_finite_values_and_count_invalid_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 1, "epoch": 0.5, "lr": 1, "loss": 2, "iid": NaN}',
        '{"step": 2, "epoch": 1, "loss": 1, "iid": "x"}',
        "[1]",
        '{"epoch": 2, "loss": 1e300, "iid": -Infinity, "rid": 1' + "0" * 400 + "}",
        '{"epoch": NaN, "loss": 1}',
        '{"step": 3, "epoch": 1.5, "los',
        '{"step": 4}',
        "",
        '{"epoch": "a"}',
    ]
    path.write_text("\n".join(lines))
    assert read_curves(path) == ({"loss": [(0.5, 2.0), (1.0, 1.0)]}, 4)
    path.write_bytes(b"\xff\xfe\x00")
    assert read_curves(path) == ({}, 1)
    assert read_curves(tmp_path / "none") == ({}, 0)


def test_method_named_like_the_teacher_uses_its_folder(make_run):
    """A run of the teacher itself lies in a folder of this name; its results were merged with the teacher's."""
    folder = make_run("teacher")
    assert [method.name for method in methods_of(folder, make_run("a", lr=0.2))] == [folder, "a"]


def test_folder_that_is_another_methods_name_is_given_in_full(make_run, tmp_path, monkeypatch):
    for seed in (1, 2):
        make_run(f"x_{seed}", seed)
    make_run("x", lr=0.2)
    make_run("q/x_1", lr=0.3)
    make_run("teacher", lr=0.4)
    monkeypatch.chdir(tmp_path)
    names = [method.name for method in methods_of("x_1", "x_2", "x", "q/x_1", "teacher")]
    assert names == [str(tmp_path / "x_1"), "x", str(tmp_path / "q/x_1"), str(tmp_path / "teacher")]


def test_adapted_run_is_no_other_number_of_negatives(make_run):
    adapted = {"metadata": {"adapted": {"keep": 0.9}}}
    folders = make_run("a", rid_negatives=16), make_run("b", rid_negatives=16, **adapted), make_run("c", rid_negatives=64)
    assert [[m.name for m in family] for family in families(methods_of(*folders))] == [["a", "c"]]
