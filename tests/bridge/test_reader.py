import signal

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from aird_plugin.bridge import reader
from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.recordio.writer import RecordWriter
from aird_plugin.data.records import decode_face
from tests.runs import metrics


@pytest.fixture
def batches(monkeypatch):
    """All batches of a run inside arcface_torch."""
    batches = []
    begin = UpstreamRun.begin

    def recording_begin(run, batch_index, batch):
        batches.append((batch_index, batch, run.setup.teacher))
        return begin(run, batch_index, batch)

    monkeypatch.setattr(UpstreamRun, "begin", recording_begin)
    return batches


def test_upstream_reader_gives_lr_images_and_teacher_embeddings(bridge_run, checkout, tmp_path, batches):
    """Each image is a record, mirrored or not, downsampled by the reference resize; the teacher embeds the same HR image."""
    train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 2, "reader": "upstream"}), checkout)
    assert [batch_index for batch_index, _, _ in batches] == list(range(12))
    records = FaceRecords(f"{bridge_run['rec']}/train.rec")
    hr = np.stack([decode_face(records, row) for row in range(len(records))])
    hr = np.concatenate([hr, hr[:, :, ::-1]])
    lr = low_faces(np.ascontiguousarray(hr), 16, grow=False)
    flips = 0
    for _, batch, teacher in batches:
        embeddings = torch.from_numpy(teacher.embed(np.ascontiguousarray(hr)))
        for index, image in enumerate(batch.images_BHWC.numpy()):
            matches = np.flatnonzero((lr == image).all(axis=(1, 2, 3)))
            assert len(matches) == 1
            flips += matches[0] >= len(records)
            assert records.labels[matches[0] % len(records)] == batch.label_B[index]
            torch.testing.assert_close(batch.teacher_BD[index], embeddings[matches[0]], rtol=1e-4, atol=1e-4)
    assert 0 < flips < 96 and batch.negative_BKD.shape == (8, 8, 8) and batch.has_anchor_B.all()


def test_upstream_reader_takes_the_mean_over_flips_as_target(bridge_run, standin, tmp_path, batches):
    keys = {"output": str(tmp_path), "num_epoch": 1, "reader": "upstream", "teacher_flip_mean": True}
    train(from_flat(bridge_run | keys), standin)
    records = FaceRecords(f"{bridge_run['rec']}/train.rec")
    hr = np.stack([decode_face(records, row) for row in range(len(records))])
    lr = [low_faces(np.ascontiguousarray(images), 16, grow=False) for images in (hr, hr[:, :, ::-1])]
    _, batch, teacher = batches[0]
    both = [F.normalize(torch.from_numpy(teacher.embed(np.ascontiguousarray(images)))) for images in (hr, hr[:, :, ::-1])]
    for index, image in enumerate(batch.images_BHWC.numpy()):
        row = np.flatnonzero(np.any([(flip == image).all(axis=(1, 2, 3)) for flip in lr], 0))[0]
        torch.testing.assert_close(batch.teacher_BD[index], both[0][row] + both[1][row], rtol=1e-4, atol=1e-4)


def test_upstream_reader_restarts_the_epoch(bridge_run, checkout, tmp_path, batches, monkeypatch):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 3, "reader": "upstream"}
    begin = UpstreamRun.begin

    def failing_begin(run, batch_index, batch):
        if batch_index == 9:
            raise RuntimeError("broken")
        return begin(run, batch_index, batch)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="broken"):
        patched.setattr(UpstreamRun, "begin", failing_begin)
        train(from_flat(keys), checkout)
    first_time = {batch_index: batch.label_B for batch_index, batch, _ in batches if batch_index < 9}
    batches.clear()
    train(from_flat(keys), checkout)
    assert [batch_index for batch_index, _, _ in batches] == list(range(6, 18))
    again = {batch_index: batch.label_B for batch_index, batch, _ in batches}
    assert all(torch.equal(again[i], first_time[i]) for i in (6, 7, 8)), "the epoch keeps its order of images"
    assert any(not torch.equal(again[i], again[i + 6]) for i in range(6, 12)), "another order each epoch"


def test_upstream_reader_after_a_stop_within_an_epoch(bridge_run, standin, tmp_path, batches):
    """The reader cannot resume within an epoch, so the schedule returns to the epoch's first step too."""
    import shutil

    from aird_plugin.training.loop import train as train_embedded

    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    whole = train_embedded(from_flat(keys | {"output": str(tmp_path / "whole")}))
    (tmp_path / "run").mkdir()
    shutil.copytree(whole / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    folder = train(from_flat(keys | {"reader": "upstream"}), standin)
    assert [batch_index for batch_index, _, _ in batches] == list(range(12, 18))
    lines = metrics(folder)
    rates = [line["lr"] for line in metrics(whole)]
    assert [line["step"] for line in lines] == list(range(13, 19)) and [line["lr"] for line in lines] == rates[12:]


def test_stop_message_names_the_resume_point(bridge_run, standin, tmp_path, monkeypatch):
    """With the bank a stop saves within the epoch; upstream's reader resumes at the beginning of the epoch."""
    from aird_plugin.utils.errors import Interrupted

    begin = UpstreamRun.begin

    def stopping_begin(run, batch_index, batch):
        if batch_index == 8:
            run.stopped.note(signal.SIGTERM, None)
        return begin(run, batch_index, batch)

    monkeypatch.setattr(UpstreamRun, "begin", stopping_begin)
    for reader_name, words, saved in (("bank", "from there", 9), ("upstream", "from the beginning of this epoch", 6)):
        with pytest.raises(Interrupted, match=f"stopped at step 9 of 18; the same command continues {words}"):
            train(from_flat(bridge_run | {"output": str(tmp_path / reader_name), "reader": reader_name}), standin)
        assert max(path.name for path in (tmp_path / reader_name / "checkpoints").iterdir()) == f"step_{saved:08d}"


def test_bank_reader_keeps_the_embedded_loops_order(bridge_run, standin, tmp_path, batches):
    from aird_plugin.training.state import build_state

    train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 2}), standin)
    state = build_state(from_flat(bridge_run | {"output": str(tmp_path / "embedded")}))
    assert len(batches) == 12
    for batch_index, batch, _ in batches:
        assert torch.equal(batch.images_BHWC, state.setup.source[batch_index].images_BHWC)
        assert torch.equal(batch.anchor_BD, state.setup.source[batch_index].anchor_BD)


def test_epoch_sampler_resumes_within_an_epoch():
    class FakeRun:
        batches_per_epoch, first, accumulate = 6, 4, 2

    sampler = reader.EpochSampler(FakeRun)
    sampler.set_epoch(1)
    assert list(sampler) == [8, 9, 10, 11]
    sampler.set_epoch(2)
    assert list(sampler) == list(range(12, 18))


def test_gradient_acc_averages_batches(bridge_run, checkout, tmp_path):
    """gradient_acc=2 in both loops: the same steps, rates and losses; the gradient is the mean, not upstream's sum."""

    from aird_plugin.training.loop import train as train_embedded

    keys = bridge_run | {"gradient_acc": 2, "batch_size": 4, "lr": 0.002, "num_epoch": 1}
    upstream = train(from_flat(keys | {"output": str(tmp_path / "upstream")}), checkout)
    embedded = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    one, other = (metrics(f) for f in (upstream, embedded))
    assert [line["step"] for line in one] == [line["step"] for line in other] == list(range(1, 7))
    for a, b in zip(one, other, strict=True):
        assert a["lr"] == b["lr"] and a["loss"] == pytest.approx(b["loss"], rel=2e-3)


def encoded(records_folder: str) -> list[tuple[int, bytes]]:
    records = FaceRecords(f"{records_folder}/train.rec")
    return [(int(records.labels[row]), records.payload(row)) for row in range(len(records))]


@pytest.mark.parametrize("layout", ["array labels", "array labels of one", "numbers, key 0 an image", "no index", "other name"])
def test_upstream_reader_takes_every_layout_of_records(bridge_run, checkout, tmp_path, batches, layout):
    """Upstream fails on array labels, takes the image at key 0 for a header and a .rec without .idx for a folder of images."""
    labelled = encoded(bridge_run["rec"])
    (tmp_path / "faces").mkdir()
    rec = tmp_path / "faces" / ("mine.rec" if layout == "other name" else "train.rec")
    with RecordWriter(rec) as writer:
        for key, (label, payload) in enumerate(labelled):
            array = {"array labels": (label, 0.5), "array labels of one": (label,)}.get(layout)
            writer.write(key, label if array is None else array, payload)
    if layout == "no index":
        rec.with_suffix(".idx").unlink()
    place = str(rec if layout == "other name" else rec.parent)
    keys = bridge_run | {"rec": place, "bank": str(tmp_path / "bank"), "output": str(tmp_path / "out"), "num_epoch": 1}
    train(from_flat(keys | {"reader": "upstream"}), checkout)
    seen = torch.cat([batch.label_B for _, batch, _ in batches])
    assert seen.bincount().tolist() == [6] * 8, "all 48 images, also that of key 0"


def test_upstream_reader_with_other_images_is_rejected(bridge_run, standin, tmp_path, monkeypatch):
    from aird_plugin.bridge import upstream_records

    monkeypatch.setattr(upstream_records.FaceRecords, "__len__", lambda self: 40)
    loader = DataLoader(range(48))
    records = FaceRecords(f"{bridge_run['rec']}/train.rec")
    with pytest.raises(ValueError, match=r"own reader finds 48 images in .*train.rec, which holds 40; set reader='bank'"):
        upstream_records.check_same_images(loader, records)
    dataset = type("Dataset", (), {"__len__": lambda self: 40, "targets": [1] * 40})()
    with pytest.raises(ValueError, match="gives the images of .* other labels"):
        upstream_records.check_same_images(DataLoader(dataset), records)
