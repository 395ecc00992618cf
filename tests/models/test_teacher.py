"""The teacher: what files it reads, what it refuses, and that nothing reaches into it."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.data.images import decode
from aird_plugin.data.pairs import read_pairs
from aird_plugin.models import build
from aird_plugin.models.teacher import load_teacher
from aird_plugin.models.weights import detect_network, load_network, load_weights, read_weights


@pytest.fixture(scope="module")
def state() -> dict:
    torch.manual_seed(0)
    net = build("mfn", 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.state_dict()


@pytest.fixture
def teacher_file(state, tmp_path):
    torch.save(state, tmp_path / "model.pt")
    return tmp_path / "model.pt"


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_every_wrapping_gives_the_same_state(state, tmp_path):
    wrappings = {
        "plain": state,
        "module": {f"module.{key}": value for key, value in state.items()},
        "compiled": {f"module._orig_mod.{key}": value for key, value in state.items()},
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


def test_classifier_comes_from_the_checkpoint_all_ranks_joined(state, tmp_path):
    centres_CD = torch.randn(7, 32)
    for rank, shard in enumerate((centres_CD[:4], centres_CD[4:])):
        content = {"state_dict_backbone": state, "state_dict_softmax_fc": {"weight": shard}}
        torch.save(content, tmp_path / f"checkpoint_gpu_{rank}.pt")
    teacher = load_teacher(tmp_path / "checkpoint_gpu_0.pt")
    assert np.array_equal(teacher.classifier, centres_CD.numpy())
    with pytest.raises(ValueError, match="rank 1's share"):
        load_teacher(tmp_path / "checkpoint_gpu_1.pt")


def test_no_classifier_is_none(teacher_file):
    assert load_teacher(teacher_file).classifier is None


def test_classifier_of_another_width_is_refused(state, tmp_path):
    content = {"state_dict_backbone": state, "state_dict_softmax_fc": {"weight": torch.randn(7, 16)}}
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="16 wide, its embedding 32"):
        load_teacher(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r100", "mbf", "mfn"])
def test_network_is_told_by_its_keys(name):
    with torch.device("meta"):
        assert detect_network(build(name).state_dict()) == name


def test_wrong_network_is_named_both_ways(teacher_file):
    with pytest.raises(ValueError, match="this is mfn, you asked for r50"):
        load_teacher(teacher_file, "r50")


def test_native_weights_need_their_name(tmp_path):
    net = build("native112_0.1m", 16)
    torch.save(net.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="native student: say which"):
        load_teacher(tmp_path / "model.pt")
    assert load_teacher(tmp_path / "model.pt", "native112_0.1m").dim == 16
    with pytest.raises(ValueError, match="does not fit native112_0.2m"):
        load_teacher(tmp_path / "model.pt", "native112_0.2m")
    small = build("native16_0.1m", 16)
    torch.save(small.state_dict(), tmp_path / "small.pt")
    with pytest.raises(ValueError, match="takes 16 px; a teacher sees 112 px"):
        load_teacher(tmp_path / "small.pt", "native16_0.1m")
    assert load_network(tmp_path / "small.pt", "native16_0.1m").input_size == 16


def test_unknown_architectures_are_refused_by_name(tmp_path):
    with torch.device("meta"):
        r200ish = {key: value for key, value in build("r34").state_dict().items() if "layer3.5" not in key}
    with pytest.raises(ValueError, match=r"an iresnet with \[3, 4, 5, 3\] blocks; known are r18"):
        detect_network(r200ish)
    with pytest.raises(ValueError, match="IR or IR-SE network"):
        detect_network({"input_layer.0.weight": torch.zeros(1), "body.0.bn.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no network we know has keys like head.weight"):
        detect_network({"head.weight": torch.zeros(1)})


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_loading_is_strict(state, tmp_path, change):
    state = dict(state)
    if change == "missing":
        del state["blocks.3.conv.0.weight"]
    elif change == "extra":
        state["more.weight"] = torch.zeros(1)
    else:
        state["conv2.conv.weight"] = torch.zeros(512, 64, 1, 1)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="does not fit mfn"):
        load_teacher(tmp_path / "model.pt")


def test_a_diverged_network_is_refused(state, tmp_path):
    broken = dict(state) | {"linear1.conv.weight": state["linear1.conv.weight"] * float("nan")}
    torch.save(broken, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"not finite, first in linear1\.conv\.weight"):
        load_teacher(tmp_path / "model.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_file_is_refused_and_runs_nothing(state, tmp_path, legacy):
    trap = tmp_path / "trap"
    content = dict(state) | {"extra": Hostile(trap)}
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="refused: it asks to run io.open"):
        load_teacher(tmp_path / "model.pt")
    assert not trap.exists()


def test_bare_pickle_is_refused_and_runs_nothing(tmp_path):
    trap = tmp_path / "trap"
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(ValueError, match=r"model\.pt"):
        load_teacher(tmp_path / "model.pt")
    assert not trap.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_torn_files_are_value_errors(state, tmp_path, legacy):
    whole = tmp_path / "whole.pt"
    torch.save(state, whole, _use_new_zipfile_serialization=not legacy)
    content = whole.read_bytes()
    torn = tmp_path / "torn.pt"
    for length in (0, 1, 7, 100, 5000, len(content) // 2, len(content) - 1):
        torn.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"torn\.pt"):
            load_teacher(torn)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_a_value_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    (tmp_path / "noise.pt").write_bytes(bytes(rng.integers(0, 256, 300, np.uint8)))
    with pytest.raises(ValueError, match=r"noise\.pt"):
        load_weights(tmp_path / "noise.pt")


@pytest.mark.parametrize("content", [torch.zeros(5, 3), {"epoch": 3}, {}, [1, 2], {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict_say_so(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"odd\.pt"):
        read_weights(tmp_path / "odd.pt")


def test_missing_and_misnamed_files(tmp_path, teacher_file):
    with pytest.raises(FileNotFoundError, match="no teacher at"):
        load_teacher(tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError, match="no weight file at"):
        load_weights(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match="is not a file"):
        load_weights(tmp_path)
    odd = teacher_file.rename(tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"a \.pt, \.pth or \.onnx file is expected, got '\.bin'"):
        load_teacher(odd)


def test_embeds_any_number_as_the_plain_network_does(state, teacher_file, noise_faces):
    teacher = load_teacher(teacher_file)
    faces_NHWC = noise_faces(19)
    net = build("mfn", 32).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        inputs = (torch.from_numpy(faces_NHWC).permute(0, 3, 1, 2).float() - 127.5) / 127.5
        expected = net(inputs).numpy()
    embeddings_ND = teacher.embed(faces_NHWC)
    assert embeddings_ND.dtype == np.float32
    np.testing.assert_allclose(embeddings_ND, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
    np.testing.assert_allclose(teacher.embed(faces_NHWC[:1]), embeddings_ND[:1], rtol=1e-3, atol=1e-5)
    assert teacher.embed(faces_NHWC[:0]).shape == (0, 32)
    flipped = faces_NHWC[:2, :, ::-1]
    np.testing.assert_array_equal(teacher.embed(flipped), teacher.embed(flipped.copy()))


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
    ],
)
def test_other_faces_are_refused(teacher_file, faces):
    with pytest.raises(ValueError, match="uint8 faces of shape"):
        load_teacher(teacher_file).embed(faces)


def test_no_gradient_reaches_the_teacher_and_its_output_serves_a_loss(teacher_file):
    teacher = load_teacher(teacher_file)
    inputs = torch.randn(2, 3, 112, 112, requires_grad=True)
    teacher_BD = teacher.embed_inputs(inputs)
    assert not teacher_BD.requires_grad
    student_BD = torch.randn(2, 32, requires_grad=True)
    (student_BD * teacher_BD).sum().backward()
    torch.testing.assert_close(student_BD.grad, teacher_BD)
    assert inputs.grad is None
    assert not teacher.net.training
    assert not any(p.requires_grad or p.grad is not None for p in teacher.net.parameters())


def test_no_parent_module_can_reach_it(teacher_file):
    parent = nn.Module()
    parent.teacher = load_teacher(teacher_file)
    before = parent.teacher.embed(np.zeros((2, 112, 112, 3), np.uint8))
    parent.train()
    parent.double()
    assert not list(parent.modules())[1:] and not parent.state_dict() and not list(parent.parameters())
    assert np.array_equal(parent.teacher.embed(np.zeros((2, 112, 112, 3), np.uint8)), before)


def test_pickles_as_its_path_and_notices_another_file(state, teacher_file):
    teacher = load_teacher(teacher_file)
    content = pickle.dumps(teacher)
    faces = np.full((2, 112, 112, 3), 90, np.uint8)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).embed(faces), teacher.embed(faces))
    torch.save({key: value * 2 for key, value in state.items()}, teacher_file)
    with pytest.raises(ValueError, match="has changed since"):
        pickle.loads(content)


def test_describes_itself(teacher_file):
    teacher = load_teacher(teacher_file)
    assert teacher.describe() == {
        "kind": "pt",
        "network": "mfn",
        "dim": 32,
        "sha256": teacher.sha256[:16],
        "file": "model.pt",
    }
    assert len(teacher.sha256) == 64 and teacher.fingerprint == teacher.sha256


def test_onnx_and_pt_of_the_real_teacher_agree_on_real_faces(aird_data):
    pytest.importorskip("onnxruntime")
    images = read_pairs(aird_data / "lfw" / "lfw_view1.bin").images[:24]
    faces_NHWC = np.stack([decode(image, "lfw_view1.bin") for image in images])
    pt, onnx = (
        load_teacher(aird_data / "teacher" / f"mobilefacenet_casia{suffix}").embed(faces_NHWC)
        for suffix in (".pt", ".onnx")
    )
    cosines = (pt * onnx).sum(1) / np.linalg.norm(pt, axis=1) / np.linalg.norm(onnx, axis=1)
    assert cosines.min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(pt, axis=1), np.linalg.norm(onnx, axis=1), rtol=1e-4)
