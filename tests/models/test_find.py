"""Where the weights of a model lie, for every kind of path; that they load is tested in test_load.py."""

import hashlib
import json

import numpy as np
import pytest

from aird_plugin.models.find import find_model, model_hashes, run_folder, skipped_images
from tests.skips import needs


def write_run(folder, recipe):
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"x")
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def test_exported_folder_resolves_to_its_onnx_file(tmp_path):
    (tmp_path / "tiny.onnx").write_bytes(b"x")
    assert find_model(tmp_path) == (tmp_path / "tiny.onnx", None)


def test_a_run_is_found_by_its_folder_and_its_weight_file(tmp_path):
    run = write_run(tmp_path / "run", {"network": "r18"})
    for path in (run, run / "model.pt", str(run)):
        assert find_model(path) == (run / "model.pt", "r18") and run_folder(path) == run
    assert run_folder(tmp_path / "other.pt") == tmp_path / "other.pt"


def test_what_holds_no_model_is_refused_with_what_may_be_given(tmp_path):
    with pytest.raises(FileNotFoundError, match="no teacher at .*none; give a run folder, its model.pt"):
        find_model(tmp_path / "none", "teacher")
    with pytest.raises(FileNotFoundError, match="no model in .*: neither a run's recipe.json"):
        find_model(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="is not a finished run: it has no model.pt"):
        find_model(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"x")
    with pytest.raises(ValueError, match="tflite"):
        find_model(tmp_path / "model.tflite")


def test_hashes_of_several_models_are_numbered(tmp_path):
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for file in files:
        file.write_text(file.name)
    hashes = model_hashes({"student": files[2], "teacher": files[:2], "prior": None})
    first, second, third = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert hashes == {"student": third, "teacher": first, "teacher 2": second}


def test_the_hash_of_a_graph_is_that_of_its_external_weights_too(tmp_path):
    onnx = needs("onnx")
    path, weight = tmp_path / "a.onnx", onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight]))
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    before = model_hashes({"teacher": path})
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    assert model_hashes({"teacher": path}) != before


@pytest.mark.parametrize(("records", "count"), [({"skipped": 3}, 3), ({}, 0), (None, 0)])
def test_skipped_images_are_those_of_the_run(tmp_path, records, count):
    assert skipped_images(write_run(tmp_path / "run", {"network": "r18", "records": records})) == count
    assert skipped_images(tmp_path / "elsewhere.onnx") == 0
