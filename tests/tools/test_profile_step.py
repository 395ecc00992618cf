import json
import sys

from tests.runs import write_recipe
from tools import profile_step


def test_table_and_trace_list_the_operations(tiny_run, tmp_path, monkeypatch, capsys):
    trace = tmp_path / "new" / "trace.json"
    recipe = write_recipe(tmp_path / "recipe.py", tiny_run | {"output": str(tmp_path / "unused")})
    monkeypatch.setattr(sys, "argv", ["x", str(recipe), "--steps", "2", "--trace", str(trace)])
    assert profile_step.main() == 0
    assert "conv" in capsys.readouterr().out and not (tmp_path / "unused").exists()
    names = [event["name"] for event in json.loads(trace.read_text())["traceEvents"] if "name" in event]
    assert names.count("step") == 2 and "aten::convolution" in names
