"""The teacher: its embeddings equal the plain network's, and it is isolated from training."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.data.images import decode
from aird_plugin.data.pairs import read_pairs
from aird_plugin.models import build
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.load import load_teacher
from tests.skips import needs


def test_classifier_is_none_without_one_in_the_file(teacher_file):
    assert load_teacher(teacher_file).classifier is None


def test_embeddings_equal_the_plain_network_for_any_count(state, teacher_file, noise_faces):
    teacher = load_teacher(teacher_file)
    images_NHWC = noise_faces(19)
    net = build("mfn", 32).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        inputs = (torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() - 127.5) / 127.5
        expected = net(inputs).numpy()
    embeddings_ND = teacher.embed(images_NHWC)
    assert embeddings_ND.dtype == np.float32
    np.testing.assert_allclose(embeddings_ND, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
    np.testing.assert_allclose(teacher.embed(images_NHWC[:1]), embeddings_ND[:1], rtol=1e-3, atol=1e-5)
    assert teacher.embed(images_NHWC[:0]).shape == (0, 32)
    flipped = images_NHWC[:2, :, ::-1]
    np.testing.assert_array_equal(teacher.embed(flipped), teacher.embed(flipped.copy()))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
    ],
)
def test_images_of_wrong_shape_or_dtype_are_rejected(teacher_file, images):
    with pytest.raises(ValueError, match="uint8 images of shape"):
        load_teacher(teacher_file).embed(images)


def test_output_is_usable_in_a_loss_without_gradient_to_the_teacher(teacher_file):
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


def test_parent_module_does_not_affect_the_teacher(teacher_file):
    parent = nn.Module()
    parent.teacher = load_teacher(teacher_file)
    before = parent.teacher.embed(np.zeros((2, 112, 112, 3), np.uint8))
    parent.train()
    parent.double()
    assert not list(parent.modules())[1:] and not parent.state_dict() and not list(parent.parameters())
    assert np.array_equal(parent.teacher.embed(np.zeros((2, 112, 112, 3), np.uint8)), before)


def test_teacher_pickles_as_its_path_and_detects_a_changed_file(state, teacher_file):
    teacher = load_teacher(teacher_file)
    content = pickle.dumps(teacher)
    images_NHWC = np.full((2, 112, 112, 3), 90, np.uint8)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).embed(images_NHWC), teacher.embed(images_NHWC))
    torch.save({key: value * 2 for key, value in state.items()}, teacher_file)
    with pytest.raises(ValueError, match="has changed since"):
        pickle.loads(content)


def test_describe(teacher_file):
    teacher = load_teacher(teacher_file)
    assert teacher.describe() == {
        "kind": "pt",
        "network": "mfn",
        "dim": 32,
        "sha256": teacher.sha256[:16],
        "file": "model.pt",
    }
    assert len(teacher.sha256) == 64


def test_onnx_and_pt_teachers_agree_on_lfw_images(aird_data):
    needs("onnxruntime")
    images = read_pairs(aird_data / "lfw" / "lfw_view1.bin").images[:24]
    images_NHWC = np.stack([decode(image, "lfw_view1.bin") for image in images])
    pt, onnx = (
        load_teacher(aird_data / "teacher" / f"mobilefacenet_casia{suffix}").embed(images_NHWC) for suffix in (".pt", ".onnx")
    )
    cosines = (pt * onnx).sum(1) / np.linalg.norm(pt, axis=1) / np.linalg.norm(onnx, axis=1)
    assert cosines.min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(pt, axis=1), np.linalg.norm(onnx, axis=1), rtol=1e-4)


@pytest.mark.parametrize("name", ["r18", "mbf", "mfn", "native32_0.2m"])
def test_folding_changes_embeddings_only_by_rounding(name):
    torch.manual_seed(0)
    net = build(name, 16).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    folded = fold_batchnorms(net)
    inputs = torch.randn(2, 3, net.input_size, net.input_size)
    with torch.no_grad():
        expected = net(inputs)
        torch.testing.assert_close(folded(inputs), expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())
    after, before = (sum(isinstance(m, nn.BatchNorm2d) for m in each.modules()) for each in (folded, net))
    # iresnet keeps the first BatchNorm of each of its 8 blocks, and the last one.
    assert before > 0 and after == (9 if name == "r18" else 0)


def test_folding_requires_eval_mode():
    with pytest.raises(ValueError, match="eval mode"):
        fold_batchnorms(build("native8_0.05m", 16))


class SharedConv(nn.Module):
    """A convolution whose output is used by its BatchNorm and by the sum after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.bn.weight, 3.0)

    def forward(self, x_BCHW):
        map_BCHW = self.conv(x_BCHW)
        return map_BCHW + self.bn(map_BCHW)


def test_convolution_with_two_users_is_not_folded():
    net, inputs = SharedConv().eval(), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fold_batchnorms(net)(inputs), net(inputs))
