"""Several training sets as one: a packed file, a folder and shards, against one file of the same images."""

import hashlib
import json

import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.bank import build
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.recordio.writer import RecordWriter
from aird_plugin.data.records import open_records
from aird_plugin.training.bank import build_bank
from aird_plugin.training.loop import train
from tests.runs import assert_same_to_the_bit, weights
from tools import make_rec


@pytest.fixture(scope="module")
def sets(tiny_run, tmp_path_factory):
    """The tiny run's 8 identities of 6 images as a packed file of 3, a folder of 3 and two shards of 2; (paths, payloads)."""
    root = tmp_path_factory.mktemp("sets")
    records = open_records(tiny_run["rec"])
    payloads = [records.payload(row) for row in range(48)]
    write_face_records(root / "packed", ((row // 6, payloads[row]) for row in range(18)))
    for row in range(18, 36):
        file = root / "folder" / f"person_{row // 6}" / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(payloads[row])
    (root / "shards").mkdir()
    for number, rows in enumerate((range(36, 41), range(41, 48))):
        with RecordWriter(root / "shards" / f"train_{number}.rec") as writer:
            for row in rows:
                writer.write(row - 36, float(row // 6 - 6), payloads[row])
    return tuple(str(root / name) for name in ("packed", "folder", "shards")), payloads


def keys_of(tiny_run, tmp_path, rec, name: str) -> dict:
    return tiny_run | {"rec": rec, "bank": str(tmp_path / "bank" / name), "output": str(tmp_path / name), "num_epoch": 1}


def arrays(folder) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): np.load(file) for file in sorted(folder.rglob("*.npy"))}


def test_images_and_labels_are_those_of_one_set(sets):
    paths, payloads = sets
    records = open_records(paths)
    assert [records.payload(row) for row in range(len(records))] == payloads and records.num_classes == 8
    assert records.labels.tolist() == [row // 6 for row in range(48)]
    assert records.where(17).endswith("packed/train.rec record 18") and records.where(18).endswith("folder/person_3/18.jpg")
    assert records.where(41).endswith("shards/train_1.rec record 5") and str(records.path).count(" + ") == 3
    assert open_records(paths[:2]).fingerprint() != open_records(paths[1::-1]).fingerprint()


def test_a_run_has_the_bits_of_the_packed_set(sets, tiny_run, tmp_path):
    paths, _ = sets
    joined = train(from_flat(keys_of(tiny_run, tmp_path, paths, "joined")))
    packed = train(from_flat(keys_of(tiny_run, tmp_path, tiny_run["rec"], "packed")))
    assert_same_to_the_bit(weights(joined), weights(packed))


def test_a_tuple_of_one_set_is_that_set(sets, tiny_run, tmp_path):
    """Runs and banks of either form go on with the other; so do those that older versions made of a tuple of one."""
    keys = keys_of(tiny_run, tmp_path, tiny_run["rec"], "one")
    run = train(from_flat(keys))
    caches = sorted((tmp_path / "bank/one").glob("*/manifest.json"))
    assert len(caches) == 2 and train(from_flat(keys | {"rec": (tiny_run["rec"],)})) == run
    print_N = open_records(tiny_run["rec"]).fingerprint()
    assert open_records((tiny_run["rec"],)).fingerprint() == print_N
    for path in (*caches, run / "recipe.json"):
        text = path.read_text().replace(print_N, hashlib.sha256(print_N.encode()).hexdigest())
        path.write_text(text)
    metadata = json.loads((run / "recipe.json").read_text())
    metadata["recipe"]["rec"] = [tiny_run["rec"]]
    (run / "recipe.json").write_text(json.dumps(metadata))
    assert train(from_flat(keys)) == run
    build_bank(from_flat(keys | {"rec": (tiny_run["rec"], sets[0][0])}))
    grown = json.loads(caches[0].read_text())
    assert grown["inputs"]["num_faces"] == 66 and grown["sources"][0] == print_N


def test_a_further_set_builds_only_its_own_rows(sets, tiny_run, tmp_path, monkeypatch, capsys):
    paths, _ = sets
    build_bank(from_flat(keys_of(tiny_run, tmp_path, paths[0], "grown")))
    build_bank(from_flat(keys_of(tiny_run, tmp_path, paths[:2], "grown")))
    decoded, original = [], build.decode_face
    monkeypatch.setattr(build, "decode_face", lambda records, row: decoded.append(row) or original(records, row))
    capsys.readouterr()
    build_bank(from_flat(keys_of(tiny_run, tmp_path, paths, "grown")))
    assert sorted(decoded) == sorted([*range(36, 48)] * 2)
    assert capsys.readouterr().err.count(": 36 images are kept, 12 of further training sets are added") == 2
    build_bank(from_flat(keys_of(tiny_run, tmp_path, paths, "fresh")))
    grown, fresh = arrays(tmp_path / "bank/grown"), arrays(tmp_path / "bank/fresh")
    assert grown.keys() == fresh.keys() and all((grown[name] == fresh[name]).all() for name in fresh)
    with pytest.raises(ValueError, match="is stale: records was"):
        build_bank(from_flat(keys_of(tiny_run, tmp_path, paths[::-1], "grown")))


def test_a_list_joins_identities(sets, tmp_path):
    paths, _ = sets
    joins = tmp_path / "joins.csv"
    joins.write_text("# the same two people\n0,2,ann\n1,person_4,ann\n1,person_5,bob\n2,1,bob\n")
    records = open_records(paths, str(joins))
    assert records.num_classes == 6 and records.labels[::6].tolist() == [0, 1, 2, 3, 2, 4, 5, 4]
    assert records.fingerprint() != open_records(paths).fingerprint()
    assert make_rec.main([str(tmp_path / "out"), "--merge", *paths, "--identity-map", str(joins)]) == 0
    packed = open_records(str(tmp_path / "out"))
    order = np.argsort(records.labels, kind="stable")
    assert packed.labels.tolist() == records.labels[order].tolist()
    assert [packed.payload(row) for row in range(48)] == [records.payload(row) for row in order]


@pytest.mark.parametrize("line", ["3,0,ann", "0,3,ann", "0,0", "0,1, ", "one,0,ann", "1,person_9,ann"])
def test_a_line_that_fits_nothing_is_named(line, sets, tmp_path):
    joins = tmp_path / "joins.csv"
    joins.write_text(f"0,0,ann\n{line}\n")
    with pytest.raises(ValueError, match=r"joins.csv line 2: found .*a source from 0 to 2"):
        open_records(sets[0], str(joins))


def test_a_list_of_excel_and_an_identity_joined_twice(sets, tmp_path):
    joins = tmp_path / "joins.csv"
    joins.write_text("0,0,ann\n1,person_4,ann\n", encoding="utf-8-sig")
    assert open_records(sets[0], str(joins)).num_classes == 7
    joins.write_text("0,0,ann\n1,person_4,ann\n0,0,ann\n1,person_4,bob\n2,0,bob\n")
    with pytest.raises(ValueError, match=r"joins.csv line 4: label person_4 of source 1 is bob, and ann in line 2; .* one text"):
        open_records(sets[0], str(joins))


def test_a_number_that_is_no_subfolder_among_numbered_ones_is_no_place(sets, tmp_path):
    for name in ("0000007", "0000045"):
        (tmp_path / "casia" / name).mkdir(parents=True)
        (tmp_path / "casia" / name / "1.jpg").write_bytes(sets[1][0])
    joins = tmp_path / "joins.csv"
    joins.write_text("0,1,ann\n")
    with pytest.raises(ValueError, match=r"joins.csv line 1: found .*names of subfolders"):
        open_records((str(tmp_path / "casia"),), str(joins))
    joins.write_text("0,0000007,ann\n0,0000045,ann\n")
    assert open_records((str(tmp_path / "casia"),), str(joins)).num_classes == 1


def test_what_cannot_be_joined_is_refused(sets, tmp_path):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "a.jpg").write_bytes(sets[1][0])
    with pytest.raises(ValueError, match="loose has no labels, the other training sets have"):
        open_records((sets[0][0], str(tmp_path / "loose")))
    with pytest.raises(ValueError, match=r"identity_map=joins.csv joins identities, and .*loose has no labels; leave it out"):
        open_records(str(tmp_path / "loose"), "joins.csv")
    (tmp_path / "train_1.rec").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 shards up to train_1.rec, but no train_0.rec"):
        open_records(str(tmp_path))
    with pytest.raises(ValueError, match="rec is a path, or a tuple of paths; got 3 in it"):
        from_flat({"rec": ("a", 3), "output": "o"})
