"""JSON files from elsewhere."""

import pytest

from aird_plugin.jsonfile import read_object
from aird_plugin.models.load import load_model


def test_an_object_comes_back(tmp_path):
    (tmp_path / "a.json").write_bytes('{"a": [1, "é"]}'.encode())
    assert read_object(tmp_path / "a.json") == {"a": [1, "é"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff{}", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_anything_else_is_one_sentence(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"recipe\.json is no JSON (file|object)"):
        read_object(tmp_path / "recipe.json")


def test_a_runs_recipe_is_read_so(tmp_path):
    (tmp_path / "recipe.json").write_text("[]")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match="is no JSON object but a list"):
        load_model(tmp_path)
