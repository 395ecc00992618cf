"""A verification file that cannot be verified is named before any image is embedded, by every command that takes one."""

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.evaluation import embed
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.training.loop import train
from tests.runs import write_recipe


@pytest.fixture(scope="module")
def run_folder(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"output": str(tmp_path_factory.mktemp("pair_files") / "run"), "num_epoch": 1}))


@pytest.fixture
def bad(pairs_file, tmp_path):
    """Name -> a file that cannot be verified, and why."""
    images, same = read_pairs(pairs_file)
    torn = [*images[:51], images[51][:200], *images[52:]]
    for name, content in {
        "one": (images[:2], same[:1]),
        "alike": (images, [True] * len(same)),
        "sorted": (images, sorted(same)),
        "torn": (torn, same),
    }.items():
        write_pairs(tmp_path / f"{name}.bin", *content)
    return tmp_path


WHY = {
    "one": "one.bin: 1 pairs do not fill 10 folds: give at least 10 pairs",
    "alike": "alike.bin: all 40 pairs are 'same': a threshold needs pairs of both kinds",
    "sorted": "sorted.bin: the pairs are sorted: all 'different' ones first",
    "torn": "torn.bin: pair 25, second image: 200 bytes that are no readable image",
}
COMMANDS = {
    "evaluate": ["evaluate", "{run}", "--pairs", "{good}", "{bad}", "--px", "16"],
    "compare": ["compare", "{run}", "{run}", "--pairs", "{good}", "{bad}", "--px", "16"],
    "report": ["report", "{run}", "--out", "{tmp}/r.html", "--pairs", "{good}", "{bad}"],
    "export --int8": ["export", "{run}", "--out", "{tmp}/model", "--int8", "{bad}"],
    "export --thresholds": ["export", "{run}", "--out", "{tmp}/model", "--thresholds", "{bad}"],
    "demo": ["demo", "{run}", "--pairs", "{bad}", "--port", "0"],
    "doctor --teacher": ["doctor", "--teacher", "{teacher}", "--network", "native112_0.05m", "--pairs", "{bad}"],
}


@pytest.mark.parametrize("name", WHY)
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_the_file_is_named_before_anything_is_embedded(words, name, bad, run_folder, pairs_file, tiny_run, monkeypatch, capsys):
    if name == "torn" and words[0] in ("demo", "doctor"):
        pytest.skip("these decode the file's images at once")
    monkeypatch.setattr(embed, "network_inputs", lambda *args, **options: pytest.fail("an image was embedded"))
    places = {"run": run_folder, "good": pairs_file, "bad": bad / f"{name}.bin", "tmp": bad, "teacher": tiny_run["teacher"]}
    assert main([word.format(**places) for word in words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {bad / WHY[name].partition(':')[0]}:") and WHY[name] in error
    assert not (bad / "model").exists() and not (bad / "r.html").exists()


@pytest.mark.parametrize("name", WHY)
def test_start_of_a_run_and_doctor_name_it(name, bad, tiny_run, tmp_path, capsys):
    keys = tiny_run | {"val_targets": (str(bad / f"{name}.bin"),), "output": str(tmp_path / "out")}
    recipe = write_recipe(tmp_path / "recipe.py", keys)
    line = f"val_targets={bad}/{name}.bin (verification pairs): {WHY[name].partition(': ')[2]}"
    assert main(["train", str(recipe)]) == 1 and line in capsys.readouterr().err
    assert main(["doctor", str(recipe)]) == 1 and f"ERROR   {line}" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_an_evaluator_names_its_file(bad, run_folder):
    from aird_plugin.models.load import load_model

    with pytest.raises(ValueError, match=r"alike.bin: all 40 pairs are 'same'"):
        PairEvaluator(load_model(run_folder), bad / "alike.bin").evaluate(16, "lr-lr")
