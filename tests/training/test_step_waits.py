"""A training step must not synchronize with the GPU: reading a value back, or a shape that depends on one, blocks the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import take_step
from aird_plugin.training.nonfinite import NonFiniteGuard
from aird_plugin.training.state import build_state

# How PyTorch itself marks the operations whose result, or its shape, depends on values: the host waits for the GPU to read them.
# Only a GPU can report that the host waits (torch.cuda.set_sync_debug_mode); on a CPU the operations must be observed.
READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
INDEXING = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}


class Reads(TorchDispatchMode):
    """Records every operation that reads device values."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, kinds, args=(), kwargs=None):
        if operation.overloadpacket in INDEXING:
            # The tags do not say that only a mask has a shape that depends on values.
            reads = any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])
        else:
            reads = not READING.isdisjoint(operation.tags)
        if reads:
            self.names.append(operation.overloadpacket.__name__)
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


@pytest.mark.parametrize(
    "read",
    [
        lambda values: values.sum().item(),
        lambda values: values[values > 1],
        lambda values: values.masked_fill_(values > 1, 0).nonzero(),
        lambda values: values.__setitem__(values > 1, torch.zeros(2)),
        lambda values: values.unique(),
        lambda values: bool(values[0] > 1),
        lambda values: torch.equal(values, values),
        lambda values: values.repeat_interleave(values.long()),
    ],
    ids=["item", "mask", "nonzero", "masked assignment", "unique", "bool", "equal", "repeat_interleave"],
)
def test_a_read_is_detected(read):
    values = torch.arange(4.0)
    with Reads() as reads:
        read(values)
    assert reads.names


def test_operations_of_known_shape_are_no_reads():
    values = torch.arange(4.0)
    with Reads() as reads:
        values[torch.tensor([1, 2])] = values[torch.tensor([2, 3])]
        torch.where(values > 1, values, 0).topk(2)
        values.masked_fill_(values > 1, 0)
    assert not reads.names
