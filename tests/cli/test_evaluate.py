import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.cli.evaluate import add_arguments, run, table
from aird_plugin.data.images import encode_jpeg, resized
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.evaluation.eval_spec import EvalSpec
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.utils.files import file_sha256

NATIVE = "native16_0.05m"


def native():
    torch.manual_seed(0)
    return build(NATIVE, 8).eval()


@pytest.fixture
def pairs_file(noise_faces, tmp_path):
    images = noise_faces(40)
    images[1::4] = images[0::4] // 2 + images[1::4] // 2
    write_pairs(tmp_path / "toy.bin", [encode_jpeg(image) for image in images], [True, False] * 10)
    return tmp_path / "toy.bin"


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save(native().state_dict(), folder / "model.pt")
    (folder / "recipe.json").write_text(json.dumps({"network": NATIVE, "embedding_size": 8, "px": 16}))
    return folder


def command(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def test_files_of_one_name_are_told_apart_by_their_folders(run_folder, pairs_file, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    pairs = read_pairs(pairs_file)
    write_pairs(tmp_path / "other" / "toy.bin", pairs.images[::-1], pairs.same[::-1])
    assert command(run_folder, "--pairs", pairs_file, tmp_path / "other" / "toy.bin", "--px", 16) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["pairs", f"{tmp_path.name}/toy.bin", "other/toy.bin"]


def test_images_smaller_than_an_evaluation_takes_them_are_reported(run_folder, noise_faces, tmp_path, capsys):
    """At --px 112, "untouched", images of 50 px were upsampled without a line about it."""
    faces = [resized(face, 50) for face in noise_faces(38)] + list(noise_faces(2))
    write_pairs(tmp_path / "small.bin", [encode_jpeg(face) for face in faces], [True, False] * 10)
    evaluate_words = [run_folder, "--pairs", tmp_path / "small.bin", "--px"]
    assert command(*evaluate_words, 16, 48) == 0
    assert "upsampled" not in capsys.readouterr().err
    assert command(*evaluate_words, 16, 112) == 0
    text = capsys.readouterr().err
    assert f"WARNING 38 of the 40 images of {tmp_path / 'small.bin'} have fewer than 112 px, the smallest 50: they" in text
    evaluator = PairEvaluator(native(), tmp_path / "small.bin")
    assert "fewer than 112 px" in evaluator.upsampled([EvalSpec(16, "lr-hr")]) and not evaluator.upsampled(
        [EvalSpec(50, "lr-lr")]
    )


def test_every_combination_gives_a_row_on_screen_and_in_json(run_folder, pairs_file, tmp_path, capsys):
    json_file = tmp_path / "out" / "rows.json"
    assert command(run_folder, "--pairs", pairs_file, pairs_file, "--px", 16, 32, "--json", json_file) == 0
    rows = json.loads(json_file.read_text())
    made = [row.pop("made") for row in rows][0]
    assert made["sha256"] == {"student": file_sha256(run_folder / "model.pt")} and {"code", "machine", "time"} < set(made)
    assert rows[0]["pairs_sha256"] == file_sha256(pairs_file)
    assert [(row["px"], row["protocol"]) for row in rows] == [(16, "lr-lr"), (32, "lr-lr")] * 2
    assert rows[0] == PairEvaluator(native(), pairs_file).evaluate(16, "lr-lr")
    assert rows[0]["tar"] == {"0.1": None, "0.01": None, "0.001": None}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and len(set(map(len, lines))) == 1
    assert lines[0].split()[:4] == ["pairs", "px", "degradation", "protocol"]
    assert lines[1].split()[:4] == ["toy.bin", "16", "bicubic", "lr-lr"] and f"{rows[0]['accuracy']:.2f}" in lines[1]
    assert list(json_file.parent.iterdir()) == [json_file]


def test_every_option_reaches_the_rows(run_folder, pairs_file, tmp_path):
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    command(
        run_folder,
        "--pairs",
        pairs_file,
        "--px",
        8,
        "--protocol",
        "lr-hr",
        "--high-side",
        "teacher",
        "--teacher",
        tmp_path / "teacher.pt",
        "--facebn",
        "full",
        "--keep",
        0.3,
        "--order",
        7,
        "--centre",
        "--batch",
        5,
        "--json",
        tmp_path / "rows.json",
    )
    [row] = json.loads((tmp_path / "rows.json").read_text())
    wanted = {"px": 8, "protocol": "lr-hr", "high_side": "teacher", "facebn": "full", "keep": 0.3, "order": 7}
    assert wanted.items() <= row.items() and row["centre"] is True and row["batch"] == 5


@pytest.fixture
def recipe_file(pairs_file, tmp_path):
    """A recipe with the evaluations of recipes/agedb30_lr16.py, on this file of pairs, with a seed of its own."""
    config = {"rec": "none", "output": "none", "px": 16, "val_targets": (str(pairs_file),)}
    config |= {"facebn": "stateless", "keep": 0.1, "seed": 3}
    (tmp_path / "recipe.py").write_text(f"config = {config!r}")
    return tmp_path / "recipe.py"


def settings_of(rows) -> list[tuple]:
    return [(row["px"], row["protocol"], row["centre"], row["facebn"], row["keep"], row["order"]) for row in rows]


def test_recipe_gives_its_evaluations_and_the_control_to_its_facebn(run_folder, recipe_file, pairs_file, tmp_path):
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    command(run_folder, "--recipe", recipe_file, "--teacher", tmp_path / "teacher.pt", "--json", tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert set(rows[0].pop("made")["sha256"]) == set(rows[2].pop("made")["sha256"]) == {"student", "teacher"}
    assert settings_of(rows) == [
        (16, protocol, *how)
        for protocol in ("lr-lr", "lr-hr")
        for how in ((False, None, None, "file"), (True, None, None, "file"), (False, "stateless", 0.1, 3))
    ]
    assert rows[0] == PairEvaluator(native(), pairs_file).evaluate(16, "lr-lr")
    assert rows[2] == PairEvaluator(native(), pairs_file).evaluate(16, "lr-lr", facebn="stateless", keep=0.1, order=3)


def test_agedb30_recipe_gives_six_evaluations(run_folder, pairs_file, tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "agedb30_lr16.py"
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    words = (run_folder, "--recipe", recipe, "--teacher", tmp_path / "teacher.pt", "--json", tmp_path / "rows.json")
    with pytest.raises(FileNotFoundError, match="no pairs file at .*agedb_30.bin"):
        command(*words)
    command(*words, "--pairs", pairs_file)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["px"], row["protocol"], row["facebn"]) for row in rows] == [
        (16, protocol, mode) for protocol in ("lr-lr", "lr-hr") for mode in (None, None, "stateless")
    ]


def test_default_keep_depends_on_the_mode(run_folder, pairs_file, tmp_path):
    """The default of "full" is that of `aird adapt`."""
    for mode, keep in (("stateless", 0.9), ("stream", 0.9), ("full", 0.1)):
        command(run_folder, "--pairs", pairs_file, "--px", 16, "--facebn", mode, "--json", tmp_path / "rows.json")
        assert json.loads((tmp_path / "rows.json").read_text())[0]["keep"] == keep


@pytest.mark.parametrize(("degradation", "evaluated"), [("jpeg", "jpeg"), ({"jpeg": 1}, "bicubic")])
def test_recipe_gives_its_degradation(run_folder, recipe_file, tmp_path, degradation, evaluated):
    """Of a mixture: that of the run's own verification."""
    config = recipe_file.read_text().removesuffix("}") + f", 'degradation': {degradation!r}, 'val_protocols': ('lr-lr',)}}"
    recipe_file.write_text(config)
    command(run_folder, "--recipe", recipe_file, "--json", tmp_path / "rows.json")
    assert [row["degradation"] for row in json.loads((tmp_path / "rows.json").read_text())] == [evaluated] * 3
    command(run_folder, "--recipe", recipe_file, "--degradation", "bicubic", "--json", tmp_path / "rows.json")
    assert [row["degradation"] for row in json.loads((tmp_path / "rows.json").read_text())] == ["bicubic"] * 3


def test_options_override_the_recipe(run_folder, recipe_file, pairs_file, tmp_path):
    json_file, other = tmp_path / "rows.json", tmp_path / "other.bin"
    other.write_bytes(pairs_file.read_bytes())
    options = ("--pairs", other, "--px", 32, "--protocol", "lr-lr", "--facebn", "full", "--json", json_file)
    command(run_folder, "--recipe", recipe_file, *options)
    rows = json.loads(json_file.read_text())
    assert settings_of(rows) == [(32, "lr-lr", False, "full", 0.1, "file")] and rows[0]["pairs"] == str(other)
    command(run_folder, "--recipe", recipe_file, "--protocol", "lr-lr", "--order", 7, "--json", json_file)
    assert [row["order"] for row in json.loads(json_file.read_text())] == [7, 7, 7]
    command(run_folder, "--recipe", recipe_file, "--protocol", "lr-lr", "--order", "file", "--json", json_file)
    assert [row["order"] for row in json.loads(json_file.read_text())] == ["file"] * 3
    with pytest.raises(ValueError, match="--order is of the images in FaceBN's batches"):
        command(run_folder, "--recipe", recipe_file, "--centre", "--order", 7)


def test_recipe_names_pairs_as_it_does_in_training(run_folder, pairs_file, tmp_path):
    """A bare name is a file beside the training set, as in arcface_torch."""
    config = {"rec": str(tmp_path), "output": "none", "px": 16, "val_targets": ("toy",), "val_protocols": ("lr-lr",)}
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"config = {config!r}")
    assert command(run_folder, "--recipe", recipe, "--json", tmp_path / "rows.json") == 0
    [row] = json.loads((tmp_path / "rows.json").read_text())
    assert row["pairs"] == str(pairs_file)


def test_rows_record_how_each_model_was_fed(pairs_file, tmp_path):
    """Also where the hashes of the weights are equal."""
    torch.save(native().state_dict(), tmp_path / "bare.pt")
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    words = [tmp_path / "bare.pt", "--network", NATIVE, "--pairs", pairs_file, "--px", 16, "--json", tmp_path / "rows.json"]
    made = []
    for more in ([], ["--input", "color=bgr", "--teacher", tmp_path / "teacher.pt", "--teacher-input", "std=128"]):
        command(*words, *more)
        made.append(json.loads((tmp_path / "rows.json").read_text())[0]["made"])
    usual = {"color": "rgb", "mean": 127.5, "std": 127.5, "layout": "nchw", "dtype": "float32"}
    assert made[0]["inputs"] == {"student": usual}
    assert made[1]["inputs"] == {"student": usual | {"color": "bgr"}, "teacher": usual | {"std": 128.0}}
    assert made[0]["sha256"]["student"] == made[1]["sha256"]["student"]


def test_missing_pairs_or_px_are_rejected(run_folder, recipe_file, pairs_file):
    for options in (["--px", 16], ["--pairs", pairs_file], []):
        with pytest.raises(ValueError, match="--pairs FILE.bin.*--px 16.*or a --recipe"):
            command(run_folder, *options)
    recipe_file.write_text("config = {'rec': 'none', 'output': 'none'}")
    with pytest.raises(ValueError, match="a --recipe with val_targets"):
        command(run_folder, "--recipe", recipe_file)
    with pytest.raises(ValueError, match="no recipe"):
        command(run_folder, "--recipe", recipe_file.with_name("none.py"))


def test_bare_file_of_a_native_network_needs_its_name(run_folder, pairs_file):
    bare = (run_folder / "model.pt").rename(run_folder / "bare.pt")
    assert command(bare, "--network", NATIVE, "--pairs", pairs_file, "--px", 16) == 0
    with pytest.raises(ValueError, match="set network=native"):
        command(bare, "--pairs", pairs_file, "--px", 16)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--keep", "0.1"], "--facebn"),
        (["--batch", "0"], "--batch"),
        (["--order", "shuffled"], "'file' or a seed"),
        (["--order", "7"], "--order is of the images in FaceBN's batches: name a mode with --facebn, or leave it out"),
        (["--px", "2"], "px is"),
        (["--protocol", "hr-hr"], "lr-lr, lr-hr"),
        (["--protocol", "lr-lr", "lr-hr"], "needs a teacher"),
        (["--facebn", "tent"], "stateless, stream, full"),
        (["--include-bn1d"], "name a mode with --facebn"),
        (["--facebn", "full", "--keep", "1.5"], "0 to 1"),
    ],
)
def test_bad_options_are_rejected_before_any_work(run_folder, pairs_file, options, message, monkeypatch):
    monkeypatch.setattr(PairEvaluator, "__init__", lambda *args: pytest.fail("work began"))
    with pytest.raises(ValueError, match=message):
        command(run_folder, "--pairs", pairs_file, "--px", "16", *options)


def test_network_that_contradicts_a_run_is_rejected(run_folder, pairs_file):
    with pytest.raises(ValueError, match="is a run of network=native16_0.05m, but network=mfn is requested"):
        load_model(run_folder, "mfn")
    with pytest.raises(ValueError, match="but network=mfn is requested"):
        command(run_folder, "--pairs", pairs_file, "--px", 16, "--network", "mfn")


def test_missing_files_are_named(run_folder, pairs_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no pairs file at .*none\.bin"):
        command(run_folder, "--pairs", tmp_path / "none.bin", "--px", 16)
    with pytest.raises(FileNotFoundError, match="no model at"):
        load_model(tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError, match=r"neither a run's recipe\.json and model\.pt nor an \.onnx"):
        load_model(tmp_path)
    (run_folder / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"not a finished run: it has no model\.pt"):
        load_model(run_folder)


def test_files_that_are_no_model_are_rejected(run_folder, pairs_file):
    with pytest.raises(ValueError, match=r"toy.bin: a .pt, .pth, .ckpt, .safetensors or .onnx file is expected"):
        load_model(pairs_file)
    (run_folder / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match=r"recipe\.json is no JSON"):
        load_model(run_folder)
    (run_folder / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="has no key network"):
        load_model(run_folder)


def test_table_is_aligned_and_marks_what_does_not_apply(run_folder, pairs_file):
    rows = [PairEvaluator(native(), pairs_file).evaluate(px, "lr-lr") for px in (8, 112)]
    heads, *lines = (line.split() for line in table(rows).splitlines())
    assert [dict(zip(heads, line, strict=True))["px"] for line in lines] == ["8", "112"]
    first = dict(zip(heads, lines[0], strict=True))
    assert (first["facebn"], first["tar@0.001"], first["centre"], first["n"]) == ("-", "-", "no", "20")
    assert float(first["auc"]) == pytest.approx(rows[0]["auc"], abs=1e-4)
    assert np.isclose(float(first["ci95"].split("..")[1]), rows[0]["ci95"][1], atol=0.01)


def test_copied_pairs_are_a_warning_beside_the_table(run_folder, pairs_file, noise_faces, tmp_path, capsys):
    command(run_folder, "--pairs", pairs_file, "--px", 16)
    assert capsys.readouterr().err == ""
    images = [encode_jpeg(image) for image in noise_faces(40)]
    images[1::4] = images[0::4]
    write_pairs(tmp_path / "copies.bin", images, [True, False] * 10)
    assert command(run_folder, "--pairs", tmp_path / "copies.bin", "--px", 16) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("WARNING 10 of 10 genuine and 0 of 10 impostor pairs of ")
    assert captured.out.split()[0] == "pairs"


def test_input_of_a_bare_file_and_of_a_run(run_folder, pairs_file, tmp_path):
    bare = tmp_path / "bare.pt"
    bare.write_bytes((run_folder / "model.pt").read_bytes())
    accuracy = []
    for options in ([], ["--input", "color=bgr,mean=0,std=255"]):
        command(bare, "--network", NATIVE, "--pairs", pairs_file, "--px", 16, *options, "--json", tmp_path / "rows.json")
        accuracy.append(json.loads((tmp_path / "rows.json").read_text())[0]["auc"])
    assert accuracy[0] != accuracy[1]
    with pytest.raises(ValueError, match="how an .onnx or a bare .pt is fed, and .* is a run; leave it out"):
        command(run_folder, "--pairs", pairs_file, "--px", 16, "--input", "color=bgr")
