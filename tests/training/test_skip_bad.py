"""One bad image: named by file or key, left out up to a stated share, counted in every row, and mended without a new bank."""

import json
from pathlib import Path

import numpy as np
import pytest

from aird_plugin.__main__ import main
from aird_plugin.bridge.host import refuse_skipping
from aird_plugin.config.recipe import from_flat
from aird_plugin.data import blocks
from aird_plugin.data.bank import build
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.readable_records import skip_unreadable
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.training.bank import build_bank
from aird_plugin.training.loop import train
from tests.runs import write_recipe


def torn(payload: bytes) -> bytes:
    return payload[:200]


@pytest.fixture
def bad_rec(tiny_run, tmp_path):
    """Keys of the tiny run with image 20 (key 21) of 48 torn; and the good payloads."""
    records = open_records(tiny_run["rec"])
    payloads = [records.payload(row) for row in range(48)]
    write(tmp_path / "faces", payloads, records.labels, bad=(20,))
    return keys_of(tiny_run, tmp_path), payloads, records.labels


def write(folder: Path, payloads, labels, bad=(), omit=()):
    items = ((int(labels[row]), torn(p) if row in bad else p) for row, p in enumerate(payloads) if row not in omit)
    write_face_records(folder, items)


def keys_of(tiny_run, tmp_path) -> dict:
    places = {"rec": str(tmp_path / "faces"), "bank": str(tmp_path / "bank"), "output": str(tmp_path / "run")}
    return tiny_run | places | {"num_epoch": 1}


def recipe_file(keys: dict, tmp_path: Path) -> str:
    file = write_recipe(tmp_path / "recipe.py", keys)
    return str(file)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): np.load(file) for file in sorted(folder.rglob("*.npy"))}


def test_a_bad_record_is_named_by_its_key(bad_rec):
    """Its row was named, which is one less."""
    keys, *_ = bad_rec
    text = (
        f"{keys['rec']}/train.rec record 21: 200 bytes that are no readable image: .*`aird doctor RECIPE` lists all such images"
    )
    for more in ({}, {"online": True}):
        with pytest.raises(ValueError, match=text):
            build_bank(from_flat(keys | more))


def test_a_bad_file_of_a_folder_is_named(bad_rec, tiny_run, tmp_path):
    _, payloads, labels = bad_rec
    for row, payload in enumerate(payloads):
        file = tmp_path / "photos" / f"{labels[row]}" / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(torn(payload) if row == 9 else payload)
    keys = keys_of(tiny_run, tmp_path) | {"rec": str(tmp_path / "photos")}
    with pytest.raises(ValueError, match=f"{tmp_path}/photos/1/9.jpg: 200 bytes that are no readable image"):
        build_bank(from_flat(keys))
    assert f"{tmp_path}/photos: 47 images taken; left out: unreadable images: 1 (1/9.jpg)" in "\n".join(
        build_bank(from_flat(keys | {"skip_bad": 0.05}))
    )


def test_doctor_decodes_every_image(bad_rec, tmp_path, capsys):
    keys, payloads, labels = bad_rec
    write(tmp_path / "faces", payloads, labels, bad=(3, 20, 30, 47))
    recipe = recipe_file(keys, tmp_path)
    assert main(["doctor", recipe]) == 1
    text = capsys.readouterr().out
    assert "ERROR   4 of 48 images cannot be read: " in text and f"{keys['rec']}/train.rec record 4: 200 bytes that are" in text
    assert "record 31: 200 bytes" in text and ", ...: mend or remove them; skip_bad=0.09 leaves them out\n" in text
    assert main(["doctor", recipe, "skip_bad=0.09"]) == 0
    text = capsys.readouterr().out
    assert "left out: unreadable images: 4 (record 4, record 21, record 31, ...)" in text and "all 44 images can be read" in text


def test_doctor_of_good_images_says_so(tiny_run, tmp_path, capsys):
    assert main(["doctor", recipe_file(tiny_run, tmp_path)]) == 0
    assert "ok      all 48 images can be read\n" in capsys.readouterr().out


def test_more_than_the_share_is_refused(bad_rec):
    keys, *_ = bad_rec
    with pytest.raises(
        ValueError, match=r"1 of 48 images of .* cannot be read, more than skip_bad=0.01 allows \(0\): .*record 21"
    ):
        build_bank(from_flat(keys | {"skip_bad": 0.01}))
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="skip_bad is a share of the images, from 0 to below 1"):
            from_flat(keys | {"skip_bad": share})


@pytest.mark.parametrize("online", [False, True])
def test_a_run_without_the_bad_image_counts_it_in_every_row(online, bad_rec, pairs_file, tmp_path, capsys):
    keys, *_ = bad_rec
    folder = train(from_flat(keys | {"skip_bad": 0.03, "val_targets": (pairs_file,), "online": online}))
    line = f"WARNING {keys['rec']}/train.rec: 47 images taken; left out: unreadable images: 1 (record 21)"
    assert line in capsys.readouterr().err
    rows = json.loads((folder / "evaluation.json").read_text())
    assert rows and all(row["skipped_images"] == 1 for row in rows)
    records = json.loads((folder / "recipe.json").read_text())["records"]
    assert (records["faces"], records["skipped"]) == (47, 1)
    assert main(["evaluate", str(folder), "--pairs", pairs_file, "--px", "16", "--json", str(tmp_path / "rows.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("skipped_images")
    assert [row["skipped_images"] for row in json.loads((tmp_path / "rows.json").read_text())] == [1]
    assert main(["identify", str(folder), pairs_file, "--layout", "bin", "--px", "16"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("skipped_images")
    assert main(["compare", str(folder), str(folder / "model.pt"), "--pairs", pairs_file, "--px", "16"]) == 0
    assert "was trained without 1 unreadable images" in capsys.readouterr().out
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 0
    assert "was trained without 1 unreadable images (skip_bad)." in (tmp_path / "report.html").read_text()
    assert main(["export", str(folder), "--out", str(tmp_path / "model"), "--count", "48"]) == 0
    assert "WARNING 1 of 48 sampled images left out: " in capsys.readouterr().err
    assert "1 unreadable ones left out" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_a_clean_run_has_no_such_count(tiny_run, pairs_file, tmp_path):
    folder = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1, "val_targets": (pairs_file,)}))
    assert "skipped" not in (folder / "evaluation.json").read_text() and "skipped" not in json.loads(
        (folder / "recipe.json").read_text()
    ).get("records")


def test_good_images_share_their_bank_with_skip_bad(tiny_run, tmp_path):
    records = open_records(tiny_run["rec"])
    assert skip_unreadable(records, 0.5, tmp_path) is records


def test_the_images_are_decoded_once(bad_rec, tmp_path, monkeypatch):
    from aird_plugin.data import readable_records

    keys, *_ = bad_rec
    records = open_records(keys["rec"])
    first = skip_unreadable(records, 0.5, tmp_path)
    monkeypatch.setattr(readable_records, "unreadable_images", lambda records: pytest.fail("decoded again"))
    again = skip_unreadable(records, 0.5, tmp_path)
    assert again.fingerprint() == first.fingerprint() != records.fingerprint() and again.rows.tolist() == first.rows.tolist()
    assert again.labels.tolist() == [label for row, label in enumerate(records.labels) if row != 20]


@pytest.mark.parametrize("remedy", ["mended", "omitted", "skipped"])
def test_a_remedy_does_not_rebuild_the_rows_before(remedy, bad_rec, tmp_path, monkeypatch):
    """Mending the image rebuilt the bank from zero. The bank equals one that was built from the mended data alone."""
    keys, payloads, labels = bad_rec
    monkeypatch.setattr(blocks, "BLOCK", 8)
    with pytest.raises(ValueError, match="record 21"):
        build_bank(from_flat(keys))
    decoded = []
    original = build.decode_face
    monkeypatch.setattr(build, "decode_face", lambda records, row: decoded.append(row) or original(records, row))
    if remedy == "skipped":
        keys = keys | {"skip_bad": 0.1}
    else:
        write(tmp_path / "faces", payloads, labels, omit=(20,) if remedy == "omitted" else ())
    build_bank(from_flat(keys))
    count = 48 if remedy == "mended" else 47
    assert sorted(decoded) == sorted([*range(16, count), *range(count)]), "the image cache goes on, the teacher's is new"
    build_bank(from_flat(keys | {"bank": str(tmp_path / "fresh")}))
    resumed, fresh = arrays(tmp_path / "bank"), arrays(tmp_path / "fresh")
    assert resumed.keys() == fresh.keys() and all((resumed[name] == fresh[name]).all() for name in fresh)
    assert not [name for name in resumed if "images" in name]


def test_an_image_that_changed_before_the_bad_one_is_built_again(bad_rec, tmp_path, monkeypatch):
    keys, payloads, labels = bad_rec
    monkeypatch.setattr(blocks, "BLOCK", 8)
    with pytest.raises(ValueError, match="record 21"):
        build_bank(from_flat(keys))
    changed = [*payloads]
    changed[10] = encode_jpeg(np.full((112, 112, 3), 90, np.uint8))
    write(tmp_path / "faces", changed, labels)
    build_bank(from_flat(keys))
    build_bank(from_flat(keys | {"bank": str(tmp_path / "fresh")}))
    resumed, fresh = arrays(tmp_path / "bank"), arrays(tmp_path / "fresh")
    assert all((resumed[name] == fresh[name]).all() for name in fresh)


def test_a_teacher_that_fails_on_an_image_names_it(tiny_run, tmp_path):
    from aird_plugin.data.bank.build import open_teacher_cache
    from aird_plugin.models.load import load_teacher

    recipe = from_flat(tiny_run | {"bank": str(tmp_path / "bank")})
    teacher = load_teacher(tiny_run["teacher"], tiny_run["teacher_network"], "cpu")
    embed = teacher.embed

    def broken(images):
        embeddings = embed(images)
        embeddings[2 * 30] = np.nan
        return embeddings

    teacher.embed = broken
    with pytest.raises(ValueError, match="not finite, first of .*train.rec record 31; check its weights"):
        open_teacher_cache(recipe.bank, open_records(tiny_run["rec"]), teacher)


def test_upstreams_own_reader_cannot_leave_images_out(tiny_run):
    with pytest.raises(ValueError, match="skip_bad=0.1 needs reader='bank'"):
        refuse_skipping(from_flat(tiny_run | {"skip_bad": 0.1, "reader": "upstream"}))
    refuse_skipping(from_flat(tiny_run | {"skip_bad": 0.1}))
