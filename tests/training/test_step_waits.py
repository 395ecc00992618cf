"""A training step must not synchronize with the GPU: reading a value back, or a shape that depends on one, blocks the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import take_step
from aird_plugin.training.nonfinite import NonFiniteGuard
from aird_plugin.training.state import build_state

# Their result, or its shape, depends on values, so that the host waits for the GPU.
READING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "is_nonzero",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
}


class Reads(TorchDispatchMode):
    """Records every operation that reads device values."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, kinds, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        boolean = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in READING or boolean:
            self.names.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("more", [{}, {"iid_variant": "dkd"}, {"rid_contrast": "infonce"}, {"gradient_acc": 2}])
def test_step_reads_no_device_value(tiny_run, tmp_path, more):
    assert_reads_nothing_back(tiny_run | {"output": str(tmp_path / "run")} | more)


OTHERS = ["crd:CRD", "rkd:RKD", "cosine:CosineRegression", "horkd:HORKD", "fkd:FKD"]


@pytest.mark.parametrize("term", OTHERS)
def test_other_terms_read_no_device_value(tiny_run, tmp_path, term):
    keys = {key: value for key, value in tiny_run.items() if key.split("_")[0] not in ("iid", "rid", "align")}
    assert_reads_nothing_back(keys | {"output": str(tmp_path / "run"), "terms": {"other": f"aird_plugin.losses.{term}"}})


def assert_reads_nothing_back(keys: dict) -> None:
    """Check the second step of a run: the first may initialize values once."""
    state = build_state(from_flat(keys))
    state.guard = NonFiniteGuard(state.setup.device, patient=True)
    take_step(state, [state.setup.source[n] for n in range(state.setup.recipe.schedule.gradient_acc)], 0)
    batches = [state.setup.source[2 + n] for n in range(state.setup.recipe.schedule.gradient_acc)]
    with Reads() as reads:
        take_step(state, batches, 1)
    assert not reads.names


def test_device_reads_are_detected():
    values = torch.arange(4.0)
    with Reads() as reads:
        values[values > 1]
        values.sum().item()
        values[torch.tensor([1, 2])]
    assert reads.names == ["index", "_local_scalar_dense"] or reads.names == ["index", "nonzero", "_local_scalar_dense"]
