"""JSON files of unknown origin."""

import pytest

from aird_plugin.models.load import load_model
from aird_plugin.utils.json_files import read_object


def test_json_object_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes('{"a": [1, "é"]}'.encode())
    assert read_object(tmp_path / "a.json") == {"a": [1, "é"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff{}", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_anything_else_is_a_one_line_error(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"recipe\.json is no JSON (file|object)"):
        read_object(tmp_path / "recipe.json")


def test_run_metadata_that_is_no_object_is_rejected(tmp_path):
    (tmp_path / "recipe.json").write_text("[]")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match="is no JSON object but a list"):
        load_model(tmp_path)
