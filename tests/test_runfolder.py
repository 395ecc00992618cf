import json
import shutil

import pytest

from aird_plugin.__main__ import main
from aird_plugin.loop import train
from aird_plugin.recipe import from_flat
from aird_plugin.runfolder import TOLD, read_facts


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path_factory.mktemp("runfolder") / "run")}))


def test_a_runs_own_facts_are_read(run):
    facts = read_facts(run)
    assert facts == json.loads((run / "recipe.json").read_text()) and facts["network"] == "native16_0.05m"


@pytest.mark.parametrize("key", TOLD)
@pytest.mark.parametrize("value", [None, []])
def test_what_is_lacking_is_named(run, tmp_path, key, value):
    facts = read_facts(run) | {key: value}
    (tmp_path / "recipe.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=f"recipe.json tells no {key}; give a folder that `aird train` made"):
        read_facts(tmp_path)


def test_records_tell_their_hash(run, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(read_facts(run) | {"records": {"path": "faces"}}))
    with pytest.raises(ValueError, match="tells no records.sha256, records.faces;"):
        read_facts(tmp_path)


@pytest.mark.parametrize("verb", ["export", "adapt"])
def test_a_foreign_recipe_json_is_one_line(run, tiny_run, tmp_path, capsys, verb):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.json").write_text('{"network": "native16_0.05m"}')
    words = {"export": ["--faces", tiny_run["rec"]], "adapt": [tiny_run["rec"]]}[verb]
    assert main([verb, str(tmp_path / "run"), *words, "--out", str(tmp_path / "out")]) == 1
    assert "error: " in (told := capsys.readouterr().err) and "tells no embedding_size" in told and "KeyError" not in told
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_resumed_beside_a_foreign_recipe_json(run, tiny_run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.json").write_text('{"recipe": 3}')
    with pytest.raises(ValueError, match="recipe.json tells no recipe; use another output="):
        train(from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path / "run")}))
