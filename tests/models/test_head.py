import pytest
import torch
from torch.nn import functional as F

from aird_plugin.models.head import Head, HeadConfig, shard_of


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
