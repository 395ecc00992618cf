"""Batches from the bank equal plain indexing, wherever the bank is held."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.batches import BankFaces, Neighbours
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.device_array import DeviceArray, bank_device, fits
from aird_plugin.data.sampler import BatchSampler

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGES, VIEWS, WIDTH, LISTED = 40, 4, 6, 9


@pytest.fixture
def caches(tmp_path):
    """Forty images in four views; every third has no image of its identity, the last five have too few negatives."""
    rng = np.random.default_rng(0)
    same, hard = rng.integers(0, IMAGES, (IMAGES, 3), np.int32), rng.integers(0, IMAGES, (IMAGES, LISTED), np.int32)
    same[::3], hard[-5:, 4:] = NO_IDENTITY, NO_IDENTITY
    arrays = {
        "embeddings": rng.normal(size=(IMAGES, VIEWS, WIDTH)).astype(np.float16),
        "centres": np.zeros((5, WIDTH), np.float32),
        "same": same,
        "hard": hard,
        "person": (np.arange(IMAGES) // 8).astype(np.int32),
        "low": rng.integers(0, 256, (IMAGES, VIEWS // 2, 8, 8, 3), np.uint8),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return ImageCache(tmp_path, {}), TeacherCache(tmp_path, {})


def source(caches, device=None, negatives=5, lone_faces="view"):
    low, teacher = caches
    neighbours = Neighbours(teacher, negatives, lone_faces, device)
    return BankFaces(BatchSampler(IMAGES, VIEWS, 10, seed=1), low, teacher, neighbours, (low,), device)


def test_a_batch_equals_plain_indexing(caches):
    low, teacher = caches
    for number in range(8):
        batch, indices = source(caches)[number], BatchSampler(IMAGES, VIEWS, 10, seed=1).indices(number)
        for images in (batch.images_BHWC, *batch.also_PBSSC):
            np.testing.assert_array_equal(images.numpy(), low.faces(indices.rows_B, indices.views_B))
        np.testing.assert_array_equal(batch.teacher_BD.float().numpy(), teacher.embeddings(indices.rows_B, indices.views_B))
        np.testing.assert_array_equal(batch.label_B.numpy(), low.label_N[indices.rows_B])
        assert batch.label_B.dtype == batch.row_B.dtype == torch.int64


def plain_neighbours(teacher, indices, negatives) -> dict[str, np.ndarray]:
    """Draw the candidates image by image."""
    same_B = [[row for row in teacher.same_NS[query] if row != NO_IDENTITY] for query in indices.rows_B]
    random_B = indices.rng.random(len(same_B))
    other_B, any_B = indices.rng.integers(1, VIEWS, len(same_B)), indices.rng.integers(0, VIEWS, len(same_B))
    out = {"anchor_BD": [], "negative_BKD": [], "negative_exists_BK": []}
    draws = zip(indices.rows_B, indices.views_B, same_B, random_B, other_B, any_B, strict=True)
    for query, view, same, random, other_view, any_view in draws:
        row = same[int(random * len(same))] if same else query
        chosen = any_view if same else (view + other_view) % VIEWS
        listed = teacher.hard_NK[row, :negatives]
        out["anchor_BD"].append(teacher.embeddings_NVD[row, chosen])
        out["negative_BKD"].append([teacher.embeddings_NVD[max(negative, 0), chosen] for negative in listed])
        out["negative_exists_BK"].append(listed != NO_IDENTITY)
    return {name: np.array(values) for name, values in out.items()}


@pytest.mark.parametrize("negatives", [1, 5, LISTED])
def test_candidates_equal_the_naive_draw(caches, negatives):
    for number in range(8):
        expected = plain_neighbours(caches[1], BatchSampler(IMAGES, VIEWS, 10, seed=1).indices(number), negatives)
        batch = source(caches, negatives=negatives)[number]
        for name, values in expected.items():
            np.testing.assert_array_equal(getattr(batch, name).numpy(), values)


@pytest.mark.parametrize("lone_faces", ["view", "skip"])
def test_a_bank_on_the_device_gives_the_same_batches(caches, lone_faces):
    mapped, on_device = source(caches, lone_faces=lone_faces), source(caches, CPU, lone_faces=lone_faces)
    assert on_device.on_device and not mapped.on_device
    assert on_device.low.parts[0].data_ptr() != mapped.low.parts[0].data_ptr() == caches[0].low_NJHWC.ctypes.data
    for number in (0, 3, 9):
        batch, other = mapped[number], on_device[number]
        for field in fields(batch):
            a, b = getattr(batch, field.name), getattr(other, field.name)
            if isinstance(a, torch.Tensor):
                assert a.dtype == b.dtype and torch.equal(a, b), field.name
        assert batch.has_anchor_B.all() == (lone_faces == "view")


def test_an_out_of_range_row_is_rejected(caches):
    with pytest.raises((IndexError, RuntimeError)):
        DeviceArray(caches[1].embeddings_NVD)(torch.tensor([IMAGES]), torch.tensor([0]))


def test_bank_device(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 200))
    assert fits(CUDA, 50) and not fits(CUDA, 51) and not fits(CPU, 1)
    assert bank_device("auto", CPU, 1) is None and bank_device("memory", CPU, 1) is None
    assert capsys.readouterr().err == ""
    assert bank_device("auto", CUDA, 50) == bank_device("device", CUDA, 51) == CUDA
    assert bank_device("device", CPU, 1 << 40) == CPU
    assert capsys.readouterr().err.count("copied to") == 3
    assert bank_device("auto", CUDA, 51) is None and bank_device("memory", CUDA, 1) is None
    assert capsys.readouterr().err.count("prefetched") == 2


def test_an_unknown_bank_on_is_rejected():
    with pytest.raises(ValueError, match="bank_on is one of auto, device, memory; got 'gpu'"):
        BankConfig(bank_on="gpu")
