import json
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models.load import load_model
from aird_plugin.utils.files import file_sha256


@pytest.fixture(scope="module")
def verified(bridge_run, checkout, pairs_file, tmp_path_factory):
    """A student with 112 px input, so that HR images are verified too."""
    keys = bridge_run | {"output": str(tmp_path_factory.mktemp("verified") / "run"), "num_epoch": 2, "network": "native112_0.05m"}
    return train(from_flat(keys | {"val_targets": (pairs_file,), "verbose": 5, "facebn": "full", "keep": 0.1}), checkout)


NAMES = ["pairs", "pairs/facebn", "pairs/lr-lr/16px", "pairs/lr-lr/16px/facebn", "pairs/lr-hr/16px", "pairs/lr-hr/16px/facebn"]


def test_log_has_hr_and_lr_rows_with_and_without_facebn(verified):
    log = (verified / "training.log").read_text()
    for step in (5, 10, 12):
        logged = re.findall(rf"\[([\w/-]+)\]\[{step}\]Accuracy-Flip: (\d\.\d+)\+-(\d\.\d+)", log)
        assert [name for name, _, _ in logged] == NAMES
        assert len(re.findall(rf"\]\[{step}\]XNorm: [\d.]+$", log, re.M)) == len(NAMES)
        assert len(re.findall(rf"\]\[{step}\]Accuracy-Highest: ", log)) == len(NAMES)


def test_final_rows_equal_the_log_and_a_new_evaluation(verified, pairs_file):
    rows = json.loads((verified / "evaluation.json").read_text())
    log = (verified / "training.log").read_text()
    logged = dict(re.findall(r"\[([\w/-]+)\]\[12\]Accuracy-Flip: (\d\.\d+)", log))
    assert [f"{row['accuracy'] / 100:.5f}" for row in rows] == [logged[name] for name in NAMES]
    assert {row.pop("made")["sha256"]["student"] for row in rows} == {file_sha256(verified / "model.pt")}
    evaluator = PairEvaluator(load_model(verified), pairs_file)
    assert evaluator.evaluate(112, "lr-lr") == rows[0]
    assert evaluator.evaluate(16, "lr-lr", facebn="full", keep=0.1, order=0) == rows[3]


def test_verbose_0_verifies_only_at_the_end(bridge_run, standin, pairs_file, tmp_path):
    keys = bridge_run | {"output": str(tmp_path), "num_epoch": 1, "val_targets": (pairs_file,), "verbose": 0}
    log = (train(from_flat(keys), standin) / "training.log").read_text()
    assert set(re.findall(r"\]\[(\d+)\]Accuracy-Flip", log)) == {"6"}


def test_tensorboard_has_a_curve_for_each_row(verified):
    events = EventAccumulator(str(verified / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert set(NAMES) <= set(tags) and {"loss/iid", "loss/rid", "loss", "learning_rate"} <= set(tags)
    assert [event.step for event in events.Scalars("pairs/lr-lr/16px")] == [5, 10, 12]


def test_native_student_is_not_verified_on_hr_images(bridge_run, checkout, pairs_file, tmp_path):
    folder = train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 1, "val_targets": (pairs_file,)}), checkout)
    rows = json.loads((folder / "evaluation.json").read_text())
    assert [(row["px"], row["protocol"], row["high_side"]) for row in rows] == [(16, "lr-lr", None), (16, "lr-hr", "teacher")]
