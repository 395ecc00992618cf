"""A step on a GPU is launched ahead of the device's work. Whatever reads a value back, or sizes a tensor by one, waits for it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aird_plugin.assemble import assemble
from aird_plugin.finite import Watch
from aird_plugin.loop import take_step
from aird_plugin.recipe import from_flat

# Their answer, or its size, depends on values, so on a GPU the host stops for them.
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
    """Notes every operation that reads values back."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation, kinds, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        boolean = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in READING or boolean:
            self.seen.append(name)
        return operation(*args, **(kwargs or {}))



@pytest.mark.parametrize("more", [{}, {"iid_variant": "dkd"}, {"rid_contrast": "infonce"}, {"gradient_acc": 2}])
def test_a_step_reads_nothing_back(tiny_run, tmp_path, more):
    assert_reads_nothing_back(tiny_run | {"output": str(tmp_path / "run")} | more)


OTHERS = ["crd:Contrast", "rkd:Relational", "alignment:Alignment", "horkd:HybridOrder", "feature:Feature"]


@pytest.mark.parametrize("term", OTHERS)
def test_other_terms_read_nothing_back(tiny_run, tmp_path, term):
    keys = {key: value for key, value in tiny_run.items() if key.split("_")[0] not in ("iid", "rid", "align")}
    assert_reads_nothing_back(keys | {"output": str(tmp_path / "run"), "terms": {"other": f"aird_plugin.losses.{term}"}})


def assert_reads_nothing_back(keys: dict) -> None:
    """The second step of a run: the first may settle what then stays."""
    training = assemble(from_flat(keys))
    training.watch = Watch(training.device, patient=True)
    take_step(training, [training.source[n] for n in range(training.recipe.schedule.gradient_acc)], 0)
    batches = [training.source[2 + n] for n in range(training.recipe.schedule.gradient_acc)]
    with Reads() as reads:
        take_step(training, batches, 1)
    assert not reads.seen


def test_reading_back_is_noticed():
    values = torch.arange(4.0)
    with Reads() as reads:
        values[values > 1]
        values.sum().item()
        values[torch.tensor([1, 2])]
    assert reads.seen == ["index", "_local_scalar_dense"] or reads.seen == ["index", "nonzero", "_local_scalar_dense"]
