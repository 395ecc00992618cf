import random
import zipfile
from pathlib import Path

import pytest
import torch

from aird_plugin.training import checkpoint


def head_state(rows: slice):
    """A shard of a (5, 2) weight whose momentum is ten times the weight."""
    weight = torch.arange(10.0).view(5, 2)[rows]
    state = {0: {"momentum_buffer": 10 * weight, "step": torch.tensor(3.0)}}
    return {"weight": weight.clone(), "optimizer": {"state": state, "param_groups": [{"lr": 0.1, "params": [0]}]}}


def save(folder, step, value=1.0):
    return checkpoint.save(folder, step, {"student": {"w": torch.tensor(value)}}, head_state(slice(0, 5)))


def test_newest_complete_checkpoint_is_loaded_and_two_are_kept(tmp_path):
    for step in (2, 10, 100):
        save(tmp_path, step, float(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000010", "step_00000100"]
    shared, heads = checkpoint.load_latest(tmp_path)
    assert shared["step"] == 100 and shared["student"]["w"].item() == 100 and len(heads) == 1


def test_unfinished_folder_is_ignored(tmp_path):
    save(tmp_path, 1)
    half = tmp_path / ".step_00000002.part"
    half.mkdir()
    (half / "shared.pt").write_bytes(b"half")
    assert checkpoint.load_latest(tmp_path)[0]["step"] == 1
    save(tmp_path, 2)
    assert checkpoint.load_latest(tmp_path)[0]["step"] == 2


def test_no_checkpoint_returns_none(tmp_path):
    assert checkpoint.load_latest(tmp_path / "none") is None


def test_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(content, file):
        file.write(b"some bytes")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert checkpoint.load_latest(tmp_path)[0]["step"] == 1


@pytest.mark.parametrize("name", ["shared.pt", "head_0.pt"])
@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"not a checkpoint" * 9])
def test_damaged_file_error_names_the_folder_to_remove(tmp_path, damage, name):
    folder = save(tmp_path, 1)
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="step_00000001 cannot be read .*remove that folder"):
        checkpoint.load_latest(tmp_path)


@pytest.mark.parametrize("name", ["shared.pt", "head_0.pt"])
def test_flipped_bit_never_changes_a_weight(tmp_path, name):
    folder = save(tmp_path, 1)
    path, draw = folder / name, random.Random(0)
    whole, refused = path.read_bytes(), 0
    expected = repr(checkpoint.load_latest(tmp_path))
    for _ in range(100):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            assert repr(checkpoint.load_latest(tmp_path)) == expected
        except ValueError as error:
            assert "step_00000001 cannot be read" in str(error)
            refused += 1
    # The other flips hit bytes that are not read: the padding between entries, dates.
    assert refused > 20


def test_file_without_checksums_loads(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        folder = save(tmp_path, 1)
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(folder / "shared.pt").infolist()[0].CRC == 0
    assert checkpoint.load_latest(tmp_path)[0]["step"] == 1


def test_saving_a_step_again_keeps_the_first(tmp_path):
    save(tmp_path, 1, 1.0)
    save(tmp_path, 1, 2.0)
    assert checkpoint.load_latest(tmp_path)[0]["student"]["w"].item() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_loading_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    folder = save(tmp_path, 1)
    torch.save({"format": Evil()}, folder / "shared.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load_latest(tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("shards", [[slice(0, 5)], [slice(0, 3), slice(3, 5)], [slice(0, 1), slice(1, 2), slice(2, 5)]])
def test_class_centers_are_resharded_for_another_world_size(shards):
    heads = [head_state(shard) for shard in shards]
    for wanted in (slice(0, 5), slice(0, 2), slice(2, 5)):
        cut, expected = checkpoint.cut_head(heads, wanted), head_state(wanted)
        assert torch.equal(cut["weight"], expected["weight"])
        state = cut["optimizer"]["state"][0]
        assert torch.equal(state["momentum_buffer"], 10 * expected["weight"]) and state["step"].item() == 3
        assert cut["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]


def mapped_file(tensor: torch.Tensor) -> str:
    """The file mapped at the tensor's address; "" for anonymous memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, _, *name = line.split(maxsplit=5)
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= tensor.data_ptr() < last:
            return "".join(name)
    raise AssertionError("no mapping holds the tensor")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/self/maps")
def test_weights_are_memory_mapped_and_optimizer_state_is_not(tmp_path):
    save(tmp_path, 1)
    _, heads = checkpoint.load_latest(tmp_path)
    cut = checkpoint.cut_head(heads, slice(1, 3))
    momentum = cut["optimizer"]["state"][0]["momentum_buffer"]
    assert mapped_file(cut["weight"]).endswith("head_0.pt") and not mapped_file(momentum).endswith(".pt")
    assert torch.equal(momentum, 10 * cut["weight"])


def test_clear_removes_all_checkpoints(tmp_path):
    save(tmp_path, 1)
    checkpoint.clear(tmp_path)
    assert checkpoint.load_latest(tmp_path) is None
