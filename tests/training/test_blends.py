"""blends: a run on images and their blends, from a bank that grows by them."""

import json

import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.bank import build, derived
from aird_plugin.data.blended_records import draw_blend, make_blend
from aird_plugin.data.degradation import downsample
from aird_plugin.data.records import decode_face
from aird_plugin.diagnostics import leaks
from aird_plugin.diagnostics.checks import check_all
from aird_plugin.diagnostics.recipe_check import check_contents
from aird_plugin.export.card import provenance
from aird_plugin.training.build import build_setup
from aird_plugin.training.data import open_faces
from aird_plugin.training.loop import train
from aird_plugin.utils.vectors import normalise
from tests.runs import assert_same_to_the_bit, metrics, weights
from tests.training.test_unlabelled import unlabelled


def keys_of(tiny_run, tmp_path, **more) -> dict:
    own = {"bank": str(tmp_path / "bank"), "output": str(tmp_path / "run"), "num_epoch": 1, "blends": 2, "akl_anchors": 96}
    return unlabelled(tiny_run, **own | more)


def test_an_epoch_has_the_images_and_their_blends(tiny_run, tmp_path):
    setup = build_setup(from_flat(keys_of(tiny_run, tmp_path)))
    rows = np.concatenate([setup.source[number].row_B.numpy() for number in range(setup.steps_per_epoch)])
    assert len(rows) > 144 - tiny_run["batch_size"] and len(set(rows.tolist())) == len(rows) and rows.max() >= 96


def test_bank_holds_the_teacher_on_the_blends(tiny_run, tmp_path):
    keys = keys_of(tiny_run, tmp_path)
    setup = build_setup(from_flat(keys))
    records, _ = open_faces(from_flat(keys))
    hr_NHWC = np.stack([decode_face(records, row) for row in range(144)])
    for view, images_NHWC in enumerate((hr_NHWC, np.ascontiguousarray(hr_NHWC[:, :, ::-1]))):
        np.testing.assert_allclose(setup.bank.embeddings_NVD[:, view], normalise(setup.teacher.embed(images_NHWC)), atol=1e-3)
    row = int(setup.source[0].row_B[0])
    low_HWC = downsample(hr_NHWC[row : row + 1], 16)[0]
    student_HWC = setup.source[0].images_BHWC[0].numpy()
    assert np.array_equal(student_HWC, low_HWC) or np.array_equal(student_HWC, low_HWC[:, ::-1])


def test_bank_and_online_path_give_the_same_losses(tiny_run, tmp_path):
    banked = train(from_flat(keys_of(tiny_run, tmp_path)))
    online = train(from_flat(keys_of(tiny_run, tmp_path, online=True, output=str(tmp_path / "online"))))
    assert metrics(online)[0]["align"] == pytest.approx(metrics(banked)[0]["align"], abs=2e-3)
    assert metrics(online)[0]["akl"] == pytest.approx(metrics(banked)[0]["akl"], rel=2e-2)


def test_bank_grows_by_blends_and_the_run_has_the_bits_of_a_new_one(tiny_run, tmp_path, monkeypatch, capsys):
    train(from_flat(keys_of(tiny_run, tmp_path, blends=1, output=str(tmp_path / "few"))))
    decoded = []
    monkeypatch.setattr(build, "decode_face", lambda records, row: decoded.append(row) or decode_face(records, row))
    grown = train(from_flat(keys_of(tiny_run, tmp_path)))
    assert set(decoded) == set(range(96, 144))
    assert "96 images are kept, 48 of further training sets are added" in capsys.readouterr().err
    fresh = train(from_flat(keys_of(tiny_run, tmp_path, bank=str(tmp_path / "other"), output=str(tmp_path / "fresh"))))
    assert_same_to_the_bit(weights(grown), weights(fresh))


def test_labelled_bank_grows_by_blends(tiny_run, tmp_path):
    """The labels go, with the class centers and lists of neighbours; the rows stay."""
    build_setup(from_flat(tiny_run | {"bank": str(tmp_path / "bank")}))
    bank = build_setup(from_flat(keys_of(tiny_run, tmp_path))).bank
    fresh = build_setup(from_flat(keys_of(tiny_run, tmp_path, bank=str(tmp_path / "other")))).bank
    assert np.array_equal(bank.embeddings_NVD, fresh.embeddings_NVD) and (bank.label_N == -1).all()
    assert bank.same_NS.size == bank.hard_NK.size == 0 and bank.centers_CD.shape == (0, 8)


def test_recipe_json_counts_the_images_and_states_the_blends(tiny_run, tmp_path):
    metadata = json.loads((train(from_flat(keys_of(tiny_run, tmp_path))) / "recipe.json").read_text())
    assert metadata["records"]["faces"] == 48 and metadata["recipe"]["blends"] == 2
    assert "48 from `faces/train.rec`, with 2 blends of each with other images (sha256" in provenance(metadata)
    shares = {"recipe": metadata["recipe"] | {"turned": 0.25, "cut": 0.5}}
    assert "with 2 blends of each with other images, 25% of them turned, 50% of them cut (sha256" in provenance(metadata | shares)
    plain = train(from_flat(keys_of(tiny_run, tmp_path, blends=0, bank=str(tmp_path / "b"), output=str(tmp_path / "plain"))))
    assert json.loads((plain / "recipe.json").read_text())["records"] == metadata["records"]


def test_labels_are_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match=r"blends=2, but .* has labels.*set labels=False and identity_weight=0"):
        build_setup(from_flat(tiny_run | {"blends": 2, "bank": str(tmp_path)}))
    with pytest.raises(ValueError, match="blends must be 0 or more; got -1"):
        from_flat(keys_of(tiny_run, tmp_path, blends=-1))
    with pytest.raises(ValueError, match="turned is a share of the blends, 0 to 1; got 1.5"):
        from_flat(keys_of(tiny_run, tmp_path, turned=1.5))
    with pytest.raises(ValueError, match="cut=0.5 is a share of the blends, of which there are none; set blends"):
        from_flat(keys_of(tiny_run, tmp_path, blends=0, cut=0.5))


def test_bank_of_other_shares_is_named(tiny_run, tmp_path):
    build_setup(from_flat(keys_of(tiny_run, tmp_path)))
    with pytest.raises(ValueError, match="is stale: records was .* Set another bank=FOLDER"):
        build_setup(from_flat(keys_of(tiny_run, tmp_path, turned=0.5)))


def test_run_trains_on_turned_and_cut_blends(tiny_run, tmp_path):
    keys = keys_of(tiny_run, tmp_path, turned=1.0, cut=1.0)
    records, _ = open_faces(from_flat(keys))
    blend = draw_blend(60, 48, turned=1.0, cut=1.0)
    images = [decode_face(records, row) for row in (blend.first, blend.second)]
    assert blend.yaw and np.array_equal(decode_face(records, 60), make_blend(blend, *images))
    setup = build_setup(from_flat(keys))
    expected = normalise(setup.teacher.embed(decode_face(records, 60)[None]))[0]
    np.testing.assert_allclose(setup.bank.embeddings_NVD[60, 0], expected, atol=1e-3)


def test_doctor_checks_each_image_once(tiny_run, tmp_path, pairs_file, monkeypatch):
    recipe = from_flat(keys_of(tiny_run, tmp_path, val_targets=(pairs_file,)))
    setup = build_setup(recipe)
    records, recipe = open_faces(recipe)
    checked = []
    monkeypatch.setattr(leaks, "shared_images", lambda records, images: checked.append(len(records)) or {})
    texts = [str(diagnostic) for diagnostic in check_all(recipe, records, setup.teacher)]
    assert checked == [48] and any("all 48 images can be read" in text for text in texts)
    assert any("matches the recipe" in text for text in texts)


def test_doctor_counts_images_and_blends(tiny_run, tmp_path):
    texts = [diagnostic.what for diagnostic in check_contents(from_flat(keys_of(tiny_run, tmp_path)))]
    assert any(text.endswith("faces: 48 images without labels, and 2 blends of each") for text in texts)


def test_resumed_run_is_bit_identical(tiny_run, tmp_path):
    whole = train(from_flat(keys_of(tiny_run, tmp_path, num_epoch=2, save_steps=1)))
    first = sorted((whole / "checkpoints").iterdir())[0]
    (tmp_path / "again" / "checkpoints").mkdir(parents=True)
    first.rename(tmp_path / "again" / "checkpoints" / first.name)
    again = train(from_flat(keys_of(tiny_run, tmp_path, num_epoch=2, output=str(tmp_path / "again"))))
    assert_same_to_the_bit(weights(again), weights(whole))


def test_bank_without_labels_searches_no_neighbours(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "hard_lists", lambda *_: pytest.fail("searched for hard negatives"))
    build_setup(from_flat(keys_of(tiny_run, tmp_path)))
    folder = tmp_path / "bank" / "teacher-v2"
    assert np.load(folder / "hard.npy").shape == np.load(folder / "same.npy").shape == (144, 0)
