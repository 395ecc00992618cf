import pytest

from aird_plugin.evaluation.eval_spec import Adaptation, EvalSpec


def test_of_takes_fields_by_position_and_by_name():
    spec = EvalSpec(px=16, protocol="lr-hr", high_side="teacher", keep=0.1, facebn="full")
    assert (
        EvalSpec.of(16, "lr-hr", "teacher", "full", 0.1) == EvalSpec.of(16, "lr-hr", "teacher", facebn="full", keep=0.1) == spec
    )
    assert EvalSpec.of(spec) == spec and EvalSpec.of(spec, px=8).px == 8
    with pytest.raises(TypeError):
        EvalSpec.of(16, "lr-lr", keeep=0.1)


@pytest.mark.parametrize(("order", "seed"), [("file", None), (0, 0), (7, 7)])
def test_adaptation_has_the_order_as_a_seed(order, seed):
    assert EvalSpec(16, facebn="stream", order=order).adaptation == Adaptation("stream", 0.9, seed)
    assert EvalSpec(16, order=order).adaptation is None
