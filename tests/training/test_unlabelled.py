"""Runs without labels: a flat folder of crops, or a labelled set with labels=False."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.bridge.host import refuse_unlabelled
from aird_plugin.config.recipe import from_flat, load
from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.data.records import open_records
from aird_plugin.diagnostics.recipe_check import check_contents
from aird_plugin.losses.anchor_kl import AnchorKL
from aird_plugin.losses.cosine import CosineRegression
from aird_plugin.losses.rkd import RKD
from aird_plugin.models.head import HeadConfig
from aird_plugin.models.load import load_model
from aird_plugin.models.no_head import NoHead
from aird_plugin.report.models import no_high_side
from aird_plugin.training.anchors import draw_anchors, set_anchors
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import resume, train
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from aird_plugin.training.state import build_state
from aird_plugin.training.validation import has_high_side
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import FACES, WIDTH, Batch, in_ddp, losses_and_gradients_of, small_student
from tests.ranks import on_ranks
from tests.runs import assert_same_to_the_bit, metrics, train_on_two_ranks, weights, write_recipe
from tests.skips import needs

ROOT = Path(__file__).parents[2]

TERMS = {"align": "aird_plugin.losses.cosine:CosineRegression", "akl": "aird_plugin.losses.anchor_kl:AnchorKL"}


def unlabelled(keys: dict, **more) -> dict:
    """The keys of the same run without labels, by cosine and KL over 24 of the 48 images."""
    keys = {key: value for key, value in keys.items() if not key.startswith("rid_")}
    return keys | {"labels": False, "identity_weight": 0, "terms": TERMS, "akl_anchors": 24, "frequent": 1} | more


@pytest.fixture(scope="module")
def crops(tiny_run, tmp_path_factory) -> Path:
    """The images of `tiny_run` in one folder, in the same order."""
    folder = tmp_path_factory.mktemp("crops")
    records = open_records(tiny_run["rec"])
    for row in range(len(records)):
        (folder / f"{row:02d}.jpg").write_bytes(records.payload(row))
    return folder


@pytest.fixture(scope="module")
def finished(tiny_run, crops, pairs_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flat")
    keys = {"rec": str(crops), "bank": str(folder / "bank"), "output": str(folder / "run"), "labels": True, "save_steps": 1}
    return train(from_flat(unlabelled(tiny_run, **keys, val_targets=(pairs_file,))))


def test_flat_folder_trains_verifies_and_logs_no_identity_loss(finished):
    rows = metrics(finished)
    assert set(rows[0]) == {"step", "epoch", "lr", "loss", "align", "akl", "samples_per_s"}
    assert rows[-1]["align"] < 0.9 * rows[0]["align"] and 0 < rows[-1]["akl"] < rows[0]["akl"]
    assert all(row["loss"] == pytest.approx(8 * row["align"] + row["akl"], rel=1e-5) for row in rows)
    protocols = [row["protocol"] for row in json.loads((finished / "evaluation.json").read_text())]
    assert protocols == ["lr-lr", "lr-hr"]


def test_recipe_json_states_that_the_run_had_no_labels(finished):
    recipe = json.loads((finished / "recipe.json").read_text())["recipe"]
    assert recipe["labels"] is False and recipe["num_classes"] == 0 and recipe["head_init"] == "teacher"


def test_labels_false_equals_a_flat_folder_of_the_same_images(finished, tiny_run, tmp_path):
    run = train(from_flat(unlabelled(tiny_run, bank=str(tmp_path / "bank"), output=str(tmp_path / "run"))))
    assert_same_to_the_bit(weights(run), weights(finished))


def test_keys_of_class_centers_and_margins_do_not_matter(finished, tiny_run, tmp_path):
    head = {"head_init": "random", "margin": "aird_plugin.losses.adaface:AdaFace", "sample_rate": 0.5, "num_classes": 7}
    run = train(from_flat(unlabelled(tiny_run, bank=str(tmp_path / "bank"), output=str(tmp_path / "run"), **head)))
    assert_same_to_the_bit(weights(run), weights(finished))
    assert json.loads((run / "recipe.json").read_text())["recipe"]["head_init"] == "teacher"


def test_online_path_gives_the_same_losses(finished, tiny_run, tmp_path):
    """Embeddings of the bank are float16: 2^-11 on each, against 1 - cos of about 0.5."""
    run = train(from_flat(unlabelled(tiny_run, online=True, num_epoch=1, bank=str(tmp_path), output=str(tmp_path / "run"))))
    first = [rows[0] for rows in (metrics(run), metrics(finished))]
    assert first[0]["align"] == pytest.approx(first[1]["align"], abs=2e-3)
    assert first[0]["akl"] == pytest.approx(first[1]["akl"], rel=2e-2)


def test_resumed_run_is_bit_identical(finished, tiny_run, crops, tmp_path):
    last = sorted((finished / "checkpoints").iterdir())[0]
    shutil.copytree(last, tmp_path / "run" / "checkpoints" / last.name)
    keys = {"rec": str(crops), "bank": str(finished.parent / "bank"), "output": str(tmp_path / "run"), "labels": True}
    again = train(from_flat(unlabelled(tiny_run, **keys)))
    assert [row["step"] for row in metrics(again)] == [18]
    assert_same_to_the_bit(weights(again), weights(finished))


def test_a_labelled_and_an_unlabelled_run_share_one_bank(tiny_run, tmp_path):
    keys = unlabelled(tiny_run, bank=str(tmp_path / "bank"))
    unused, used = build_setup(from_flat(keys)), build_setup(from_flat(tiny_run | {"bank": str(tmp_path / "bank")}))
    assert (unused.source[0].label_B == -1).all() and unused.bank.centers_CD.shape == (0, 8)
    assert unused.bank.same_NS.size == unused.bank.hard_NK.size == 0
    assert used.source[0].label_B.min() >= 0 and used.bank.centers_CD.shape == (8, 8)
    assert np.array_equal(used.bank.label_N, np.repeat(np.arange(8), 6))


def test_anchors_are_the_mean_views_of_random_images(tiny_run):
    setup = build_setup(from_flat(unlabelled(tiny_run)))
    term = setup.objective.terms["akl"]
    assert len(set(term.row_K.tolist())) == 24 and (term.row_K.diff() > 0).all()
    for row, anchor_D in zip(term.row_K, term.anchor_KD, strict=True):
        mean_D = torch.from_numpy(setup.bank.embeddings_NVD[row].astype(np.float32).mean(0))
        torch.testing.assert_close(anchor_D, mean_D / mean_D.norm())
    assert torch.equal(draw_anchors(setup.bank, 24, 0)[0], term.row_K)
    assert not torch.equal(draw_anchors(setup.bank, 24, 1)[0], term.row_K)
    assert draw_anchors(setup.bank, 4096, 0)[0].tolist() == list(range(48))


def test_labelled_run_takes_anchors_too(tiny_run, tmp_path):
    keys = unlabelled(tiny_run, labels=True, identity_weight=1.0, num_epoch=1, output=str(tmp_path / "run"))
    row = metrics(train(from_flat(keys)))[-1]
    assert row["loss"] == pytest.approx(row["identity"] + 8 * row["align"] + row["akl"], rel=1e-5)


def one_step() -> dict[str, torch.Tensor]:
    """One step by three terms on this rank's images: the losses and the student's gradients."""
    student, batch = small_student(), Batch()
    objective = Objective({"align": CosineRegression(), "akl": AnchorKL(), "rkd": RKD()}, LossDims(WIDTH, FACES))
    views_NVD = np.random.default_rng(0).normal(size=(FACES, 2, WIDTH))
    set_anchors(objective, SimpleNamespace(embeddings_NVD=views_NVD), seed=0)
    objective.double()
    network = in_ddp(student)
    inputs = build_loss_inputs(network(batch.x), batch, NoHead())
    out = objective(inputs, identity=None)
    out["loss"].backward()
    return losses_and_gradients_of(student, objective, out)


def test_two_ranks_equal_one_in_losses_and_gradients(tmp_path):
    with float64():
        whole = one_step()
    assert {"loss/loss", "loss/align", "loss/akl", "loss/rkd"} == {name for name in whole if name.startswith("loss/")}
    assert whole["loss/akl"] > 0
    for part in on_ranks(one_step, tmp_path):
        assert_equal_up_to_order(part, whole)


def test_two_ranks_under_torchrun_resume_on_one(tiny_run, crops, tmp_path, pairs_file):
    keys = {"rec": str(crops), "labels": True, "bank": str(tmp_path / "bank"), "output": str(tmp_path / "run"), "num_epoch": 1}
    keys = unlabelled(tiny_run, **keys, val_targets=(pairs_file,), verbose=3)
    recipe = write_recipe(tmp_path / "flat.py", keys | {"batch_size": 4})
    train_on_two_ranks(recipe)
    assert len(json.loads((tmp_path / "run" / "evaluation.json").read_text())) == 2
    assert [row["step"] for row in metrics(tmp_path / "run")] == list(range(1, 7))
    assert resume(build_state(from_flat(keys))) == 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"identity_weight": 1.0}, "no identity loss; set identity_weight=0"),
        ({"faces_per_person": 2}, "set faces_per_person=1"),
        ({"terms": {}}, "a run needs a term, such as"),
        ({"terms": {"iid": "aird_plugin.losses.instance:IID"}}, "iid cannot do without .*anchor_kl:AnchorKL in the place of iid"),
        ({"terms": {"rid": "aird_plugin.losses.relation:RID"}}, "rid cannot do without .*rkd:RKD in the place of rid"),
        ({"terms": {"crd": "aird_plugin.losses.crd:CRD"}}, "crd cannot do without .*cosine:CosineRegression in the place of crd"),
        ({"terms": {"bd": "aird_plugin.losses.bridge_distillation:BridgeDistillation"}}, "in the place of bd"),
        ({"terms": {"a": "aird_plugin.losses.siamese:Siamese"}, "also_px": (8,)}, "in the place of a"),
        ({"teacher": None}, "align, akl needs a teacher"),
    ],
)
def test_recipe_that_cannot_do_without_labels_is_refused(tiny_run, more, message):
    keys = unlabelled(tiny_run) | more
    if "terms" in more:
        keys.pop("akl_anchors")
    with pytest.raises(ValueError, match=message):
        build_setup(from_flat(keys))


def test_terms_of_weight_zero_are_not_refused(tiny_run):
    terms = TERMS | {"iid": "aird_plugin.losses.instance:IID"}
    assert set(build_setup(from_flat(unlabelled(tiny_run, terms=terms, iid_weight=0.0))).objective.terms) == {"align", "akl"}


def test_arcface_torch_refuses_a_run_without_labels(tiny_run, crops):
    for keys in ({"labels": False}, {"rec": str(crops)}):
        with pytest.raises(ValueError, match="train without --arcface-torch"):
            refuse_unlabelled(from_flat(tiny_run | keys))
    refuse_unlabelled(from_flat(tiny_run))


def test_doctor_names_what_it_cannot_check(finished, tiny_run, crops, pairs_file):
    keys = {"rec": str(crops), "bank": str(finished.parent / "bank"), "labels": True, "val_targets": (pairs_file,)}
    found = list(check_contents(from_flat(unlabelled(tiny_run, **keys))))
    assert {one.status for one in found} == {"ok", "note"}
    assert not any("have a training image with a cosine above" in one.what for one in found)
    for text in ("48 images without labels", "cannot be checked without labels"):
        assert any(text in one.what for one in found)
    with pytest.raises(ValueError, match="set identity_weight=0"):
        list(check_contents(from_flat(unlabelled(tiny_run, **keys, identity_weight=1.0))))


def test_report_evaluates_the_run_in_both_protocols(finished, tiny_run, pairs_file, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", str(finished), "--out", str(page), "--pairs", pairs_file]) == 0
    metadata = json.loads((finished / "recipe.json").read_text())
    run = SimpleNamespace(recipe=metadata["recipe"], metadata=metadata)
    teacher = SimpleNamespace(describe=lambda: metadata["teacher"])
    assert no_high_side(run, load_model(str(finished)), teacher, None) == "" and page.exists()


def test_run_is_exported(finished, tmp_path):
    needs("onnx")
    needs("onnxruntime")
    assert main(["export", str(finished), "--out", str(tmp_path / "model")]) == 0
    assert list((tmp_path / "model").glob("*.onnx"))


def test_run_without_the_teachers_space_has_no_lr_hr(tiny_run):
    terms = {"rkd": "aird_plugin.losses.rkd:RKD"}
    keys = unlabelled(tiny_run, terms=terms)
    keys.pop("akl_anchors")
    setup = build_setup(from_flat(keys))
    assert setup.recipe.head == HeadConfig() and not has_high_side(setup)
    assert has_high_side(build_setup(from_flat(unlabelled(tiny_run))))


def test_recipe_is_the_cosine_recipe_without_labels():
    recipe, cosine = (load(recipe_path(ROOT / "recipes", f"faces15k_small_lr16_{name}")) for name in ("nolabels", "cosine"))
    assert not recipe.data.labels and recipe.run.identity_weight == 0
    assert recipe.terms["align"] == cosine.terms["align"] and set(recipe.terms) == {"align", "akl"}
    assert (recipe.terms["akl"].weight, recipe.terms["akl"].scale) == (1, 20)
    assert (recipe.schedule, recipe.student, recipe.bank) == (cosine.schedule, cosine.student, cosine.bank)
