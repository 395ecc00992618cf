import pytest
import torch

from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import shrink_gradient
from aird_plugin.bridge.wrappers import train_in_half
from aird_plugin.loop import train as train_embedded
from aird_plugin.recipe import from_flat


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"clip": 0.05}, {"clip": 0.0}, {"weight_decay": 0.3}])
def test_the_recipes_momentum_clipping_and_decay_hold_in_both_hosts(change, bridge_run, checkout, tmp_path):
    """An epoch at a small rate, where rounding has no time to grow; each key moves weights far beyond the tolerance."""
    keys = bridge_run | {"num_epoch": 1, "lr": 1e-3} | change
    hosted = train(from_flat(keys | {"output": str(tmp_path / "hosted")}), checkout)
    embedded = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    one, other = (torch.load(folder / "model.pt", weights_only=True) for folder in (hosted, embedded))
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_half_precision_is_for_training_alone():
    student = torch.nn.Sequential(torch.nn.Linear(4, 4))
    x, seen = torch.randn(2, 4), []
    student[0].register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    plain = student(x)
    keys = list(student.state_dict())
    train_in_half(student, torch.bfloat16, "cpu")
    student.train()
    assert student(x).dtype == torch.float32
    student.eval()
    assert torch.equal(student(x), plain)
    assert seen == [torch.float32, torch.bfloat16, torch.float32] and list(student.state_dict()) == keys


def test_a_part_of_the_gradient_and_all_of_the_value():
    x = torch.tensor(3.0, requires_grad=True)
    loss = shrink_gradient(x * x, 4)
    loss.backward()
    assert loss.item() == 9 and x.grad.item() == 1.5
    assert shrink_gradient(x, 1) is x
