"""The fast way to draw from the bank gives what the bank's own plain indexing gives, wherever the bank lies."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from aird_plugin.data.bank import BankConfig, LowBank, TeacherBank
from aird_plugin.data.faces import NOBODY, BankFaces, Neighbours
from aird_plugin.data.plan import Plan
from aird_plugin.data.shelf import Shelf, fits, place_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FACES, VIEWS, WIDTH, LISTED = 40, 4, 6, 9


@pytest.fixture
def halves(tmp_path):
    """Forty faces in four views; the first has nobody of its own person, the last too few strangers."""
    rng = np.random.default_rng(0)
    same, hard = rng.integers(0, FACES, (FACES, 3), np.int32), rng.integers(0, FACES, (FACES, LISTED), np.int32)
    same[::3], hard[-5:, 4:] = NOBODY, NOBODY
    arrays = {
        "embeddings": rng.normal(size=(FACES, VIEWS, WIDTH)).astype(np.float16), "centres": np.zeros((5, WIDTH), np.float32),
        "same": same, "hard": hard, "person": (np.arange(FACES) // 8).astype(np.int32),
        "low": rng.integers(0, 256, (FACES, VIEWS // 2, 8, 8, 3), np.uint8),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return LowBank(tmp_path, {}), TeacherBank(tmp_path, {})


def source(halves, place=None, negatives=5, lone_faces="view"):
    low, teacher = halves
    neighbours = Neighbours(teacher, negatives, lone_faces, place)
    return BankFaces(Plan(FACES, VIEWS, 10, seed=1), low, teacher, neighbours, (low,), place)


def test_a_batch_is_what_plain_indexing_gives(halves):
    low, teacher = halves
    for number in range(8):
        batch, draw = source(halves)[number], Plan(FACES, VIEWS, 10, seed=1).draw(number)
        for faces in (batch.faces_BHWC, *batch.also_PBSSC):
            np.testing.assert_array_equal(faces.numpy(), low.faces(draw.rows_B, draw.views_B))
        np.testing.assert_array_equal(batch.teacher_BD.float().numpy(), teacher.embeddings(draw.rows_B, draw.views_B))
        np.testing.assert_array_equal(batch.person_B.numpy(), low.person_N[draw.rows_B])
        assert batch.person_B.dtype == batch.row_B.dtype == torch.int64


def plain_neighbours(teacher, draw, negatives) -> dict[str, np.ndarray]:
    """The draw of candidates, face by face."""
    known_B = [[row for row in teacher.same_NS[face] if row != NOBODY] for face in draw.rows_B]
    luck_B = draw.rng.random(len(known_B))
    other_B, any_B = draw.rng.integers(1, VIEWS, len(known_B)), draw.rng.integers(0, VIEWS, len(known_B))
    out = {"anchor_BD": [], "negative_BKD": [], "negative_exists_BK": []}
    for face, view, known, luck, other, some in zip(draw.rows_B, draw.views_B, known_B, luck_B, other_B, any_B, strict=True):
        row = known[int(luck * len(known))] if known else face
        seen = some if known else (view + other) % VIEWS
        listed = teacher.hard_NK[row, :negatives]
        out["anchor_BD"].append(teacher.embeddings_NVD[row, seen])
        out["negative_BKD"].append([teacher.embeddings_NVD[max(stranger, 0), seen] for stranger in listed])
        out["negative_exists_BK"].append(listed != NOBODY)
    return {name: np.array(values) for name, values in out.items()}


@pytest.mark.parametrize("negatives", [1, 5, LISTED])
def test_candidates_are_those_of_the_plain_draw(halves, negatives):
    for number in range(8):
        expected = plain_neighbours(halves[1], Plan(FACES, VIEWS, 10, seed=1).draw(number), negatives)
        batch = source(halves, negatives=negatives)[number]
        for name, values in expected.items():
            np.testing.assert_array_equal(getattr(batch, name).numpy(), values)


@pytest.mark.parametrize("lone_faces", ["view", "skip"])
def test_a_bank_that_lies_on_the_device_gives_the_same_batches(halves, lone_faces):
    mapped, resident = source(halves, lone_faces=lone_faces), source(halves, CPU, lone_faces=lone_faces)
    assert resident.resident and not mapped.resident
    assert resident.low.rows_MX.data_ptr() != mapped.low.rows_MX.data_ptr() == halves[0].low_NJHWC.ctypes.data
    for number in (0, 3, 9):
        one, other = mapped[number], resident[number]
        for field in fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if isinstance(a, torch.Tensor):
                assert a.dtype == b.dtype and torch.equal(a, b), field.name
        assert one.has_anchor_B.all() == (lone_faces == "view")


def test_a_row_outside_is_refused(halves):
    with pytest.raises((IndexError, RuntimeError)):
        Shelf(halves[1].embeddings_NVD)(torch.tensor([FACES]), torch.tensor([0]))


def test_where_the_bank_goes(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 200))
    assert fits(CUDA, 50) and not fits(CUDA, 51) and not fits(CPU, 1)
    assert place_of("auto", CPU, 1) is None and place_of("memory", CPU, 1) is None
    assert capsys.readouterr().err == ""
    assert place_of("auto", CUDA, 50) == place_of("device", CUDA, 51) == CUDA
    assert place_of("device", CPU, 1 << 40) == CPU
    assert capsys.readouterr().err.count("whole on") == 3
    assert place_of("auto", CUDA, 51) is None and place_of("memory", CUDA, 1) is None
    assert capsys.readouterr().err.count("read ahead") == 2


def test_another_place_is_refused():
    with pytest.raises(ValueError, match="bank_on is one of auto, device, memory; got 'gpu'"):
        BankConfig(bank_on="gpu")
