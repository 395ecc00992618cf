"""Weight files: every supported format, and the rejection of others without running their code."""

import contextlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from aird_plugin.models.load import load_teacher
from aird_plugin.models.weights import load_weights, read_weights


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_every_wrapping_gives_the_same_state_dict(state, tmp_path):
    wrappings = {
        "plain": state,
        "module": {f"module.{key}": value for key, value in state.items()},
        "compiled": {f"module._orig_mod.{key}": value for key, value in state.items()},
        "compiled inside Lightning": {"state_dict": {f"model._orig_mod.{key}": value for key, value in state.items()}},
        "parallel inside": {f"backbone.module.{key}": value for key, value in state.items()},
        "beside a head": {f"model.module.{key}": value for key, value in state.items()} | {"head.kernel": torch.ones(2)},
        "state_dict": {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}},
        "backbone": {"epoch": 3, "state_dict_backbone": state, "state_optimizer": {"lr": 0.1}},
    }
    for name, content in wrappings.items():
        torch.save(content, tmp_path / f"{name}.pt")
        loaded = load_weights(tmp_path / f"{name}.pt")
        assert list(loaded) == list(state), name
        assert all(torch.equal(loaded[key], state[key]) for key in state), name


def test_half_precision_becomes_float32(state, tmp_path):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(halves, tmp_path / "16backbone.pth")
    loaded = load_weights(tmp_path / "16backbone.pth")
    assert loaded["conv1.conv.weight"].dtype == torch.float32
    assert loaded["conv1.bn.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(loaded["conv1.conv.weight"], state["conv1.conv.weight"].half().float())
    assert load_teacher(tmp_path / "16backbone.pth").dim == 32


def test_classifier_shards_of_all_ranks_are_concatenated(state, tmp_path):
    centers_CD = torch.randn(7, 32)
    for rank, shard in enumerate((centers_CD[:4], centers_CD[4:])):
        content = {"state_dict_backbone": state, "state_dict_softmax_fc": {"weight": shard}}
        torch.save(content, tmp_path / f"checkpoint_gpu_{rank}.pt")
    teacher = load_teacher(tmp_path / "checkpoint_gpu_0.pt")
    assert np.array_equal(teacher.classifier, centers_CD.numpy())
    with pytest.raises(ValueError, match="rank 1's shard"):
        load_teacher(tmp_path / "checkpoint_gpu_1.pt")


def test_classifier_of_another_width_is_rejected(state, tmp_path):
    content = {"state_dict_backbone": state, "state_dict_softmax_fc": {"weight": torch.randn(7, 16)}}
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="classifier width 16 and embedding width 32"):
        load_teacher(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_file_is_rejected_and_runs_nothing(state, tmp_path, legacy):
    trap = tmp_path / "trap"
    content = dict(state) | {"extra": Malicious(trap)}
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="refused: it would run io.open"):
        load_teacher(tmp_path / "model.pt")
    assert not trap.exists()


def test_archive_member_names_are_not_extracted(state, tmp_path):
    (tmp_path / "models").mkdir()
    torch.save(state, tmp_path / "models" / "model.pt")
    with zipfile.ZipFile(tmp_path / "models" / "model.pt", "a") as archive:
        archive.writestr("../trap", b"x")
        archive.writestr(str(tmp_path / "trap"), b"x")
    with contextlib.suppress(ValueError):
        load_teacher(tmp_path / "models" / "model.pt")
    assert [file.name for file in tmp_path.rglob("*")] == ["models", "model.pt"]


def test_global_with_a_leading_blank_is_rejected(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name, content in {"data.pkl": b"\x80\x02c x\ny\n.", "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"archive/{name}", content)
    with pytest.raises(ValueError, match="not a readable PyTorch weight file"):
        read_weights(tmp_path / "model.pt")


def test_bare_pickle_is_rejected_and_runs_nothing(tmp_path):
    trap = tmp_path / "trap"
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    with pytest.raises(ValueError, match=r"model\.pt"):
        load_teacher(tmp_path / "model.pt")
    assert not trap.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_file_is_a_value_error(state, tmp_path, legacy):
    whole = tmp_path / "whole.pt"
    torch.save(state, whole, _use_new_zipfile_serialization=not legacy)
    content = whole.read_bytes()
    truncated = tmp_path / "truncated.pt"
    for length in (0, 1, 7, 100, 5000, len(content) // 2, len(content) - 1):
        truncated.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"truncated\.pt"):
            load_teacher(truncated)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_a_value_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    (tmp_path / "noise.pt").write_bytes(bytes(rng.integers(0, 256, 300, np.uint8)))
    with pytest.raises(ValueError, match=r"noise\.pt"):
        load_weights(tmp_path / "noise.pt")


@pytest.mark.parametrize("content", [torch.zeros(5, 3), {"epoch": 3}, {}, [1, 2], {"state_dict": {"a": 1}}])
def test_file_without_a_state_dict_is_rejected(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"odd\.pt"):
        read_weights(tmp_path / "odd.pt")


def test_missing_and_misnamed_files_are_rejected(tmp_path, teacher_file):
    with pytest.raises(FileNotFoundError, match="no teacher at"):
        load_teacher(tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError, match="no weight file at"):
        load_weights(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match="is not a file"):
        load_weights(tmp_path)
    odd = teacher_file.rename(tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"a \.pt, \.pth, \.ckpt, \.safetensors or \.onnx file is expected, got '\.bin'"):
        load_teacher(odd)
