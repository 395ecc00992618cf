import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aird_plugin.models import class_centers
from aird_plugin.models.class_centers import initial_centers, shard_of
from aird_plugin.models.head import Head, HeadConfig


def head(**keys):
    config = HeadConfig(num_classes=6, margin_scale=8.0, **keys)
    centers = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    return Head(config, 4, centers, teacher_centers_CD=2 * centers, seed=3)


def make_batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator), torch.tensor([0, 5, 3, 3, 1])


def test_cosines_and_loss_equal_the_plain_formula():
    h, (student, teacher, label) = head(margin_list=(1.0, 0.0, 0.0)), make_batch()
    cosines = h.cosines(student, teacher, label)
    torch.testing.assert_close(cosines.student_GC, F.normalize(student) @ F.normalize(h.weight).T)
    torch.testing.assert_close(cosines.teacher_GC, F.normalize(teacher) @ F.normalize(h.weight).T)
    assert torch.equal(cosines.label_G, label)
    torch.testing.assert_close(h.loss(cosines.student_GC, cosines.label_G), F.cross_entropy(8 * cosines.student_GC, label))


def test_teacher_centers_are_neither_trained_nor_saved():
    h = head()
    assert [name for name, _ in h.named_parameters()] == ["weight"] and set(h.state_dict()) == {"weight"}


def test_sampling_keeps_the_classes_of_the_batch():
    h, (student, teacher, _) = head(sample_rate=0.7), make_batch()
    label = torch.tensor([0, 5, 0, 5, 0])
    whole = head().cosines(student, teacher, label)
    sampled = set()
    for step in range(12):
        cosines = h.cosines(student, teacher, label, step)
        assert cosines.student_GC.shape == (5, 4) and cosines.teacher_GC.shape == (5, 4)
        target = whole.student_GC.gather(1, label[:, None])
        torch.testing.assert_close(cosines.student_GC.gather(1, cosines.label_G[:, None]), target)
        sampled |= {round(v, 5) for v in cosines.student_GC[0].tolist()}
    assert len(sampled) == 6, "every class is sampled over many steps"


def test_sampling_is_deterministic_per_step():
    h, (student, teacher, label) = head(sample_rate=0.7), make_batch()
    a, b = (h.cosines(student, teacher, label, 7).student_GC for _ in range(2))
    assert torch.equal(a, b)


def test_only_sampled_classes_get_a_gradient():
    h, (student, teacher, label) = head(sample_rate=0.7), make_batch()
    cosines = h.cosines(student, teacher, label, 0)
    h.loss(cosines.student_GC, cosines.label_G).backward()
    assert h.weight.grad.is_sparse and (h.weight.grad.to_dense().abs().sum(1) > 0).sum() == 4


def test_shards_cover_every_class_once():
    for classes, ranks in ((10, 3), (7, 7), (5, 2), (3, 4)):
        shards = [shard_of(classes, rank, ranks) for rank in range(ranks)]
        assert [i for s in shards for i in range(s.start, s.stop)] == list(range(classes))


def test_random_centers_depend_only_on_the_seed():
    config = HeadConfig(num_classes=6)
    a, b, c = (Head(config, 4, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("classes", [3, 16, 47, 64])
def test_random_centers_are_equal_on_any_number_of_ranks(monkeypatch, classes):
    """The shards, drawn in blocks, equal one draw of the whole matrix to the bit."""
    monkeypatch.setattr(class_centers, "ROW_BLOCK", 16)
    whole = torch.empty(classes, 5).normal_(0, 0.01, generator=torch.Generator().manual_seed(7))
    for ranks in (1, 2, 3):
        shards = [shard_of(classes, rank, ranks) for rank in range(ranks)]
        parts = [initial_centers(classes, 5, shard, seed=7) for shard in shards]
        assert torch.equal(torch.cat(parts), whole)


def test_rank_without_a_class_is_rejected():
    with pytest.raises(ValueError, match="num_classes=1 leaves a rank without a class; use fewer ranks"):
        initial_centers(1, 4, shard_of(1, 1, 2))


def test_teacher_centers_stay_memory_mapped_with_sampling(tmp_path):
    centers = np.lib.format.open_memmap(tmp_path / "centres.npy", mode="w+", dtype=np.float32, shape=(6, 4))
    centers[:] = np.random.default_rng(0).standard_normal((6, 4))
    mapped = torch.from_numpy(centers)
    sampled, whole = (Head(HeadConfig(6, sample_rate=rate), 4, mapped, mapped) for rate in (0.7, 1.0))
    assert sampled.teacher_centers_CD.data_ptr() == mapped.data_ptr() != sampled.weight.data_ptr()
    assert whole.teacher_centers_CD.data_ptr() != mapped.data_ptr()
    student, teacher, label = make_batch()
    a, b = (h.cosines(student, teacher, label) for h in (sampled, whole))
    torch.testing.assert_close(*(c.teacher_GC.gather(1, c.label_G[:, None]) for c in (a, b)))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"head_init": "zero"}, "teacher, random; got 'zero'"),
        ({"margin_gradient": "no"}, "exact, upstream"),
        ({"sample_rate": 1.5}, "above 0 and at most 1; got 1.5"),
        ({"margin_scale": 0.0}, "above 0"),
        ({"num_classes": -1}, "-1"),
    ],
)
def test_invalid_keys_are_rejected(keys, words):
    with pytest.raises(ValueError, match=words):
        HeadConfig(**keys)


def test_centers_of_wrong_shape_are_rejected():
    with pytest.raises(ValueError, match=r"class centers \(6, 4\); got \(5, 4\)"):
        Head(HeadConfig(num_classes=6), 4, torch.zeros(5, 4))
