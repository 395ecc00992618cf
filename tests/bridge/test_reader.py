import signal

import numpy as np
import pytest
import torch

from aird_plugin.bridge import reader
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.facerec import FaceRecords
from aird_plugin.data.lowres import low_faces
from aird_plugin.recipe import from_flat


@pytest.fixture
def seen(monkeypatch):
    """Every batch that a hosted run begins with."""
    batches = []
    begin = Hosted.begin

    def noting(hosted, number, batch):
        batches.append((number, batch, hosted.lesson.teacher))
        return begin(hosted, number, batch)

    monkeypatch.setattr(Hosted, "begin", noting)
    return batches


def test_upstreams_own_reader_gives_low_faces_and_the_teachers_word(bridge_run, checkout, tmp_path, seen):
    """Each face is one of the record file's, or its mirror image, shrunk by the one resize; its teacher saw that very face."""
    train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 2, "reader": "upstream"}), checkout)
    assert [number for number, _, _ in seen] == list(range(12))
    records = FaceRecords(f"{bridge_run['rec']}/train.rec")
    high = np.stack([decode_face(records, row) for row in range(len(records))])
    high = np.concatenate([high, high[:, :, ::-1]])
    low = low_faces(np.ascontiguousarray(high), 16, grow=False)
    flips = 0
    for _, batch, teacher in seen:
        embeddings = torch.from_numpy(teacher.embed(np.ascontiguousarray(high)))
        for place, face in enumerate(batch.faces_BHWC.numpy()):
            matches = np.flatnonzero((low == face).all(axis=(1, 2, 3)))
            assert len(matches) == 1
            flips += matches[0] >= len(records)
            assert records.labels[matches[0] % len(records)] == batch.person_B[place]
            torch.testing.assert_close(batch.teacher_BD[place], embeddings[matches[0]], rtol=1e-4, atol=1e-4)
    assert 0 < flips < 96 and batch.negative_BKD.shape == (8, 8, 8) and batch.has_anchor_B.all()


def test_a_run_with_upstreams_reader_begins_its_epoch_again(bridge_run, checkout, tmp_path, seen, monkeypatch):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 3, "reader": "upstream"}
    begin = Hosted.begin

    def dying(hosted, number, batch):
        if number == 9:
            raise RuntimeError("broken")
        return begin(hosted, number, batch)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="broken"):
        patched.setattr(Hosted, "begin", dying)
        train(from_flat(keys), checkout)
    first_time = {number: batch.person_B for number, batch, _ in seen if number < 9}
    seen.clear()
    train(from_flat(keys), checkout)
    assert [number for number, _, _ in seen] == list(range(6, 18))
    again = {number: batch.person_B for number, batch, _ in seen}
    assert all(torch.equal(again[number], first_time[number]) for number in (6, 7, 8)), "the epoch's own order of faces"
    assert any(not torch.equal(again[number], again[number + 6]) for number in range(6, 12)), "another order each epoch"


def test_upstreams_reader_after_a_stop_within_an_epoch_of_the_bank(bridge_run, standin, tmp_path, seen):
    """Its order cannot be entered in the middle, so the schedule goes back to the epoch's first step with it."""
    import json
    import shutil

    from aird_plugin.loop import train as train_embedded

    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    whole = train_embedded(from_flat(keys | {"output": str(tmp_path / "whole")}))
    (tmp_path / "run").mkdir()
    shutil.copytree(whole / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    folder = train(from_flat(keys | {"reader": "upstream"}), standin)
    assert [number for number, _, _ in seen] == list(range(12, 18))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [json.loads(line)["lr"] for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(13, 19)) and [line["lr"] for line in lines] == rates[12:]


def test_a_stop_says_from_where_the_next_run_goes_on(bridge_run, standin, tmp_path, monkeypatch):
    """Within an epoch the bank's order is saved at once; upstream's reader goes back to the epoch's beginning."""
    from aird_plugin.errors import Interrupted

    begin = Hosted.begin

    def stopping(hosted, number, batch):
        if number == 8:
            hosted.stopped.note(signal.SIGTERM, None)
        return begin(hosted, number, batch)

    monkeypatch.setattr(Hosted, "begin", stopping)
    for way, words, saved in (("bank", "from there", 9), ("upstream", "from the beginning of this epoch", 6)):
        with pytest.raises(Interrupted, match=f"stopped at step 9 of 18; the same command goes on {words}"):
            train(from_flat(bridge_run | {"output": str(tmp_path / way), "reader": way}), standin)
        assert max(path.name for path in (tmp_path / way / "checkpoints").iterdir()) == f"step_{saved:08d}"


def test_the_bank_comes_in_the_embedded_hosts_order(bridge_run, standin, tmp_path, seen):
    from aird_plugin.assemble import assemble

    train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 2}), standin)
    training = assemble(from_flat(bridge_run | {"output": str(tmp_path / "embedded")}))
    assert len(seen) == 12
    for number, batch, _ in seen:
        assert torch.equal(batch.faces_BHWC, training.source[number].faces_BHWC)
        assert torch.equal(batch.anchor_BD, training.source[number].anchor_BD)


def test_an_epoch_of_a_resumed_run_begins_in_its_middle():
    class Fake:
        batches_per_epoch, first, accumulate = 6, 4, 2

    batches = reader.EpochOfBatches(Fake)
    batches.set_epoch(1)
    assert list(batches) == [8, 9, 10, 11]
    batches.set_epoch(2)
    assert list(batches) == list(range(12, 18))


def test_accumulated_batches_make_one_step_of_their_mean(bridge_run, checkout, tmp_path):
    """gradient_acc=2 in either host: the same steps, rates and first loss; the gradient is the mean, not upstream's sum."""
    import json

    from aird_plugin.loop import train as train_embedded

    keys = bridge_run | {"gradient_acc": 2, "batch_size": 4, "lr": 0.002, "num_epoch": 1}
    hosted = train(from_flat(keys | {"output": str(tmp_path / "hosted")}), checkout)
    embedded = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    one, other = ([json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (hosted, embedded))
    assert [line["step"] for line in one] == [line["step"] for line in other] == list(range(1, 7))
    for a, b in zip(one, other, strict=True):
        assert a["lr"] == b["lr"] and a["loss"] == pytest.approx(b["loss"], rel=2e-3)
