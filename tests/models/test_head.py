import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aird_plugin.models import head as head_module
from aird_plugin.models.head import Head, HeadConfig, initial_centres, shard_of


def head(**keys):
    config = HeadConfig(num_classes=6, margin_scale=8.0, **keys)
    centres = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    return Head(config, 4, centres, teacher_centres_CD=2 * centres, seed=3)


def faces():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator), torch.tensor([0, 5, 3, 3, 1])


def test_cosines_and_the_loss_they_give():
    h, (student, teacher, person) = head(margin_list=(1.0, 0.0, 0.0)), faces()
    cosines = h.cosines(student, teacher, person)
    torch.testing.assert_close(cosines.student_GC, F.normalize(student) @ F.normalize(h.weight).T)
    torch.testing.assert_close(cosines.teacher_GC, F.normalize(teacher) @ F.normalize(h.weight).T)
    assert torch.equal(cosines.label_G, person)
    torch.testing.assert_close(h.loss(cosines.student_GC, cosines.label_G), F.cross_entropy(8 * cosines.student_GC, person))


def test_the_teachers_centres_are_neither_trained_nor_saved():
    h = head()
    assert [name for name, _ in h.named_parameters()] == ["weight"] and set(h.state_dict()) == {"weight"}


def test_sampling_keeps_the_classes_of_the_batch():
    h, (student, teacher, _) = head(sample_rate=0.7), faces()
    person = torch.tensor([0, 5, 0, 5, 0])
    whole = head().cosines(student, teacher, person)
    seen = set()
    for step in range(12):
        cosines = h.cosines(student, teacher, person, step)
        assert cosines.student_GC.shape == (5, 4) and cosines.teacher_GC.shape == (5, 4)
        own = whole.student_GC.gather(1, person[:, None])
        torch.testing.assert_close(cosines.student_GC.gather(1, cosines.label_G[:, None]), own)
        seen |= {round(v, 5) for v in cosines.student_GC[0].tolist()}
    assert len(seen) == 6, "over many steps every class is drawn"


def test_sampling_is_a_function_of_the_step():
    h, (student, teacher, person) = head(sample_rate=0.7), faces()
    a, b = (h.cosines(student, teacher, person, 7).student_GC for _ in range(2))
    assert torch.equal(a, b)


def test_a_sampled_class_alone_gets_a_gradient():
    h, (student, teacher, person) = head(sample_rate=0.7), faces()
    cosines = h.cosines(student, teacher, person, 0)
    h.loss(cosines.student_GC, cosines.label_G).backward()
    assert h.weight.grad.is_sparse and (h.weight.grad.to_dense().abs().sum(1) > 0).sum() == 4


def test_shards_cover_all_classes_once():
    for classes, ranks in ((10, 3), (7, 7), (5, 2), (3, 4)):
        shards = [shard_of(classes, rank, ranks) for rank in range(ranks)]
        assert [i for s in shards for i in range(s.start, s.stop)] == list(range(classes))


def test_random_centres_depend_on_the_seed_alone():
    config = HeadConfig(num_classes=6)
    a, b, c = (Head(config, 4, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("classes", [3, 16, 47, 64])
def test_random_centres_are_one_draw_on_any_number_of_ranks(monkeypatch, classes):
    """Drawn in blocks, of which each rank keeps its own: as one draw of the whole matrix to the bit."""
    monkeypatch.setattr(head_module, "ROW_BLOCK", 16)
    whole = torch.empty(classes, 5).normal_(0, 0.01, generator=torch.Generator().manual_seed(7))
    for ranks in (1, 2, 3):
        shards = [shard_of(classes, rank, ranks) for rank in range(ranks)]
        parts = [initial_centres(HeadConfig(num_classes=classes), 5, shard, seed=7) for shard in shards]
        assert torch.equal(torch.cat(parts), whole)


def test_a_rank_without_a_class_is_refused():
    with pytest.raises(ValueError, match="num_classes=1 leaves a rank without a class; use fewer ranks"):
        initial_centres(HeadConfig(num_classes=1), 4, shard_of(1, 1, 2))


def test_where_classes_are_sampled_the_teachers_centres_stay_mapped(tmp_path):
    centres = np.lib.format.open_memmap(tmp_path / "centres.npy", mode="w+", dtype=np.float32, shape=(6, 4))
    centres[:] = np.random.default_rng(0).standard_normal((6, 4))
    mapped = torch.from_numpy(centres)
    sampled, whole = (Head(HeadConfig(6, sample_rate=rate), 4, mapped, mapped) for rate in (0.7, 1.0))
    assert sampled.teacher_centres_CD.data_ptr() == mapped.data_ptr() != sampled.weight.data_ptr()
    assert whole.teacher_centres_CD.data_ptr() != mapped.data_ptr()
    student, teacher, person = faces()
    a, b = (h.cosines(student, teacher, person) for h in (sampled, whole))
    torch.testing.assert_close(*(c.teacher_GC.gather(1, c.label_G[:, None]) for c in (a, b)))


@pytest.mark.parametrize(("keys", "words"), [
    ({"head_init": "zero"}, "teacher, random; got 'zero'"), ({"margin_gradient": "no"}, "exact, upstream"),
    ({"sample_rate": 1.5}, "at most 1; got 1.5"), ({"margin_scale": 0.0}, "above 0"), ({"num_classes": -1}, "-1"),
])  # fmt: skip
def test_wrong_keys_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        HeadConfig(**keys)


def test_centres_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"class centres \(6, 4\); got \(5, 4\)"):
        Head(HeadConfig(num_classes=6), 4, torch.zeros(5, 4))
