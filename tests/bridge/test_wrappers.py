import os
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from aird_plugin.bridge import wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import scale_gradient
from aird_plugin.bridge.wrappers import autocast_training
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train as train_embedded
from tests.runs import weights


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"clip": 0.05}, {"clip": 0.0}, {"weight_decay": 0.3}])
def test_momentum_clipping_and_decay_match_the_embedded_loop(change, bridge_run, checkout, tmp_path):
    """One epoch at a small rate, so that rounding errors stay small; each key changes the weights far beyond the tolerance."""
    keys = bridge_run | {"num_epoch": 1, "lr": 1e-3} | change
    upstream = train(from_flat(keys | {"output": str(tmp_path / "upstream")}), checkout)
    embedded = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    one, other = (weights(folder) for folder in (upstream, embedded))
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_keys_of_wandb_reach_upstream_without_the_api_key(tiny_run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "of before")
    keys = {"using_wandb": True, "wandb_key": "secret", "wandb_project": "p", "wandb_log_all": True}
    setup = SimpleNamespace(records=(), embedding_size=8, device=torch.device("cpu"))
    with ExitStack() as stack:
        run = SimpleNamespace(setup=setup, accumulate=1, eval_specs=(), stack=stack)
        setup.recipe = from_flat(tiny_run | keys)
        config = wrappers.recipe_config({"wandb_entity": "entity"}, run)("")
        assert config.using_wandb and config.wandb_project == "p" and config.wandb_log_all and config.wandb_entity is None
        assert config.wandb_key is None and "secret" not in str(config) and os.environ["WANDB_API_KEY"] == "secret"
        setup.recipe = from_flat(tiny_run | {"upstream": {"using_wandb": True}})
        assert wrappers.recipe_config({"wandb_entity": "entity"}, run)("").wandb_entity == "entity"
    assert os.environ["WANDB_API_KEY"] == "of before"


def test_a_key_that_upstream_has_not_is_reported(tiny_run, capsys):
    """A misspelt key had no effect, without a line about it."""
    setup = SimpleNamespace(records=(), embedding_size=8, device=torch.device("cpu"))
    setup.recipe = from_flat(tiny_run | {"upstream": {"dalli": True, "interclass_filtering_threshold": 0.1}})
    run = SimpleNamespace(setup=setup, accumulate=1, eval_specs=(), stack=None)
    wrappers.recipe_config({"lr": 0.1, "dali": False, "interclass_filtering_threshold": 0}, run)
    assert capsys.readouterr().err == (
        "WARNING upstream sets 'dalli', which arcface_torch's configs/base.py does not have; the nearest is 'dali'\n"
    )


def test_half_precision_is_used_in_training_only():
    student = torch.nn.Sequential(torch.nn.Linear(4, 4))
    x, dtypes = torch.randn(2, 4), []
    student[0].register_forward_hook(lambda module, inputs, out: dtypes.append(out.dtype))
    plain = student(x)
    keys = list(student.state_dict())
    autocast_training(student, torch.bfloat16, "cpu")
    student.train()
    assert student(x).dtype == torch.float32
    student.eval()
    assert torch.equal(student(x), plain)
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32] and list(student.state_dict()) == keys


@pytest.mark.parametrize("on", [False, True])
def test_compile_reaches_the_student_of_upstreams_loop(on, bridge_run):
    student = torch.nn.Linear(4, 4)
    setup = SimpleNamespace(recipe=from_flat(bridge_run | {"compile": on}), device=torch.device("cpu"), student=student)
    with ExitStack() as stack:
        assert wrappers.get_model(None, SimpleNamespace(setup=setup, stack=stack))("r18") is student
        assert (student._compiled_call_impl is not None) == on


def test_scale_gradient_keeps_the_value():
    x = torch.tensor(3.0, requires_grad=True)
    loss = scale_gradient(x * x, 4)
    loss.backward()
    assert loss.item() == 9 and x.grad.item() == 1.5
    assert scale_gradient(x, 1) is x
