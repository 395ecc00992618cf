import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aird_plugin.data.degradation import downsample, resize_to_network
from aird_plugin.data.lowres import RESIZE, low_faces, resize_faces, to_input
from aird_plugin.data.pairs import write_pairs
from aird_plugin.evaluation.embed import embed, network_inputs
from aird_plugin.evaluation.pair_evaluator import PairEvaluator, evaluate
from aird_plugin.evaluation.sides import as_network_input
from aird_plugin.evaluation.verification import verify
from aird_plugin.models import build
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.from_weights import load_network
from aird_plugin.models.load import load_teacher
from aird_plugin.utils.vectors import normalise
from tests.skips import needs

PAIRS = 12
SAME = np.arange(PAIRS) % 3 != 1


class Net(nn.Module):
    """A network with BatchNorm for images of any side; records its inputs."""

    def __init__(self, side=112, width=6, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.input_size = side
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(8),
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 36, width),
        )
        self.inputs = []
        self.eval()

    def forward(self, x):
        self.inputs.append(x)
        return self.layers(x)


class Teacher:
    """Has a teacher's `embed`, and is no nn.Module."""

    def __init__(self, width=6):
        self.net, self.inputs = Net(width=width, seed=5), []

    def embed(self, images_NHWC):
        self.inputs.append(images_NHWC)
        with torch.no_grad():
            return self.net(to_input(torch.from_numpy(images_NHWC))).numpy()


@pytest.fixture
def images(noise_faces):
    """The images of twelve pairs; those of a same pair are similar. Images 4 and 20 are equal."""
    images = noise_faces(2 * PAIRS)
    for pair in np.flatnonzero(SAME):
        images[2 * pair + 1] = images[2 * pair] // 2 + images[2 * pair + 1] // 2
    images[20] = images[4]
    return images


@pytest.fixture
def pairs_file(images, tmp_path):
    write_pairs(tmp_path / "pairs.bin", [png(image) for image in images], SAME)
    return tmp_path / "pairs.bin"


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def figures(row):
    return {key: row[key] for key in verify(np.eye(20)[:20], [True, False] * 5)}


def interleaved(lr, hr):
    out = np.empty((2 * PAIRS, lr.shape[1]), np.float32)
    out[0::2], out[1::2] = lr, hr
    return out


def approx(row):
    numbers = {key: pytest.approx(value, abs=1e-6) for key, value in row.items() if key != "tar"}
    return numbers | {"tar": row["tar"]}


def test_row_has_the_documented_keys(pairs_file):
    row = evaluate(Net(), pairs_file, 16, "lr-hr")
    assert (
        list(row)
        == (
            "pairs pairs_sha256 px protocol high_side facebn keep include_bn1d order batch centre degradation resize n_pairs "
            "n_impostor "
            "n_near accuracy accuracy_std accuracy_best auc tar ci95"
        ).split()
    )
    assert row["pairs"] == str(pairs_file) and row["resize"] == RESIZE and row["degradation"] == "bicubic"
    assert (row["px"], row["protocol"], row["high_side"]) == (16, "lr-hr", "student")
    assert (row["facebn"], row["keep"], row["order"], row["batch"]) == (None, None, "file", 96)
    assert row["centre"] is False
    assert (row["n_pairs"], row["n_impostor"]) == (12, 4)
    assert evaluate(Net(), pairs_file, 16, "lr-lr")["high_side"] is None


def test_lr_lr_downsamples_both_images(pairs_file, images):
    row = evaluate(Net(), pairs_file, 16, "lr-lr")
    assert figures(row) == approx(verify(embed(Net(), low_faces(images, 16)), SAME))


def test_lr_hr_downsamples_the_first_image_only(pairs_file, images):
    row = evaluate(Net(), pairs_file, 16, "lr-hr")
    expected = interleaved(embed(Net(), low_faces(images[0::2], 16)), embed(Net(), images[1::2]))
    assert figures(row) == approx(verify(expected, SAME))


@pytest.mark.parametrize("side", [112, 16])
def test_degradation_affects_the_lr_side_only(pairs_file, images, side):
    student, teacher = Net(side), Teacher()
    row = evaluate(student, pairs_file, 16, "lr-hr", "teacher", teacher, degradation="insightface-warp")
    warped = resize_to_network(downsample(images[0::2], 16), side, "insightface-warp")
    assert figures(row) == approx(verify(interleaved(embed(Net(side), warped), embed(Teacher(), images[1::2])), SAME))
    assert row["degradation"] == "insightface-warp"
    assert (warped != resize_to_network(downsample(images[0::2], 16), side)).any()


def test_degradations_have_separate_embeddings(pairs_file):
    evaluator = PairEvaluator(Net(), pairs_file)
    one, other = (evaluator.embeddings(16, "lr-lr", degradation=name) for name in ("bicubic", "jpeg"))
    assert np.abs(one - other).max() > 1e-3
    with pytest.raises(ValueError, match="degradation is one of"):
        evaluator.evaluate(16, "lr-lr", degradation="fog")


def test_px_112_is_not_downsampled(pairs_file, images):
    expected = approx(verify(embed(Net(), images), SAME))
    assert figures(evaluate(Net(), pairs_file, 112, "lr-lr")) == expected
    assert figures(evaluate(Net(), pairs_file, 112, "lr-hr")) == expected


def test_native_student_uses_the_teacher_on_the_high_side(pairs_file, images):
    student, teacher = Net(16), Teacher()
    row = evaluate(student, pairs_file, 16, "lr-hr", teacher=teacher)
    assert row["high_side"] == "teacher"
    expected = interleaved(embed(Net(16), low_faces(images[0::2], 16, grow=False)), embed(Teacher(), images[1::2]))
    assert figures(row) == approx(verify(expected, SAME))
    assert {x.shape[2] for x in student.inputs} == {16}
    assert {x.shape[1] for x in teacher.inputs} == {112}


@pytest.mark.parametrize("px", [8, 16, 32, 112])
def test_network_input_of_a_native_student(images, px):
    inputs = as_network_input(images, px, side=16)
    assert inputs.shape == (2 * PAIRS, 16, 16, 3)
    assert np.array_equal(inputs, resize_faces(resize_faces(images, px), 16))


def test_teacher_on_the_high_side_of_a_112_px_student(pairs_file, images):
    row = evaluate(Net(), pairs_file, 16, "lr-hr", "teacher", Teacher())
    expected = interleaved(embed(Net(), low_faces(images[0::2], 16)), embed(Teacher(), images[1::2]))
    assert row["high_side"] == "teacher" and figures(row) == approx(verify(expected, SAME))


@pytest.mark.parametrize("mode", ["stateless", "stream", "full"])
def test_facebn_adapts_each_side_from_the_training_statistics(pairs_file, images, mode):
    net = Net()
    row = evaluate(net, pairs_file, 16, "lr-hr", batch=4, facebn=mode, keep=0.1)
    sides = []
    for side in (low_faces(images[0::2], 16), images[1::2]):
        fresh = Net()
        with FaceBN(fresh, 0.1, mode) as bn:
            if mode == "full":
                inputs = to_input(torch.from_numpy(side))
                bn.adapt(torch.cat([x, x.flip(3)]) for x in inputs.split(4))
            sides.append(embed(fresh, side, 4))
    assert figures(row) == approx(verify(interleaved(*sides), SAME))
    assert (row["facebn"], row["keep"], row["batch"]) == (mode, 0.1, 4)
    assert torch.equal(net.layers[2].running_mean, torch.zeros(8))


def test_include_bn1d_adapts_the_embedding_layer_too(pairs_file):
    """FaceBN with and without it, against the context itself."""
    torch.manual_seed(0)
    net = build("native16_0.05m", 8).eval()
    evaluator = PairEvaluator(net, pairs_file)
    with pytest.raises(ValueError, match="include_bn1d is for FaceBN"):
        evaluator.evaluate(16, "lr-lr", include_bn1d=True)
    plain = evaluator.embeddings(16, "lr-lr", facebn="full", keep=0.1)
    found = evaluator.embeddings(16, "lr-lr", facebn="full", keep=0.1, include_bn1d=True)
    assert np.abs(found - plain).max() > 0.1
    images_2NSSC = as_network_input(evaluator.images_UHWC[evaluator.face_2N], 16, 16)
    with FaceBN(net, 0.1, "full", include_bn1d=True) as bn, torch.inference_mode():
        bn.adapt(x for _, x in network_inputs(images_2NSSC, 96))
        np.testing.assert_allclose(found, embed(net, images_2NSSC), atol=1e-5)
    assert evaluator.evaluate(16, "lr-lr", facebn="full", include_bn1d=True)["include_bn1d"] is True


def test_facebn_never_adapts_the_teacher(pairs_file, images):
    row = evaluate(Net(), pairs_file, 16, "lr-hr", "teacher", Net(seed=5), facebn="stateless", keep=0.1)
    student = Net()
    with FaceBN(student, 0.1):
        lr = embed(student, low_faces(images[0::2], 16))
    assert figures(row) == approx(verify(interleaved(lr, embed(Net(seed=5), images[1::2])), SAME))


def fingerprints(x_B3SS):
    return {x.contiguous().numpy().tobytes() for x in x_B3SS}


def test_lr_and_hr_images_never_share_a_batch(pairs_file, images):
    net = Net()
    evaluate(net, pairs_file, 8, "lr-hr", facebn="stateless", order=1)
    sides = low_faces(images[0::2], 8), images[1::2]
    lr, hr = (fingerprints(to_input(torch.from_numpy(side))) for side in sides)
    for batch in net.inputs:
        half = fingerprints(batch[: len(batch) // 2])
        assert half <= lr or half <= hr


def test_order_and_batch_affect_facebn_only(pairs_file):
    def aucs(**options):
        values = set()
        for batch, order in itertools.product((4, 24), ("file", 0, 1)):
            row = evaluate(Net(), pairs_file, 16, "lr-lr", batch=batch, order=order, keep=0, **options)
            values.add(row["auc"])
        return values

    assert len(aucs()) == 1
    assert len(aucs(facebn="stream")) > 2


@pytest.mark.parametrize("centre", [1, 0, np.True_, "yes", None])
def test_centre_is_a_bool_or_training(pairs_file, centre):
    """1 and NumPy's True passed, and the embeddings were not centered."""
    with pytest.raises(ValueError, match="centre must be False, True or 'training'"):
        evaluate(Net(), pairs_file, 16, "lr-lr", centre=centre)


def test_centre_subtracts_the_mean_of_each_side(pairs_file, images):
    lr, hr = embed(Net(), low_faces(images[0::2], 16)), embed(Net(), images[1::2])
    row = evaluate(Net(), pairs_file, 16, "lr-hr", centre=True)
    assert figures(row) == approx(verify(interleaved(*(normalise(e - e.mean(0)) for e in (lr, hr))), SAME))
    assert row["centre"] is True
    both = embed(Net(), low_faces(images, 16))
    row = evaluate(Net(), pairs_file, 16, "lr-lr", centre=True)
    assert figures(row) == approx(verify(normalise(both - both.mean(0)), SAME))


def test_each_image_is_embedded_once_at_each_px(pairs_file):
    net = Net()
    evaluator = PairEvaluator(net, pairs_file)
    rows = [evaluator.evaluate(*spec) for spec in itertools.product((16, 112), ("lr-hr", "lr-lr", "lr-hr"))]
    # Two flips, two px; one image occurs in two pairs.
    assert sum(len(x) for x in net.inputs) == 2 * 2 * (2 * PAIRS - 1)
    assert figures(rows[1]) == approx(figures(evaluate(Net(), pairs_file, 16, "lr-lr")))


def test_with_student_shares_the_teachers_embeddings_only(pairs_file):
    teacher = Teacher()
    evaluator = PairEvaluator(Net(16), pairs_file, teacher)
    evaluator.evaluate(16, "lr-hr")
    batches = len(teacher.inputs)
    row = evaluator.with_student(Net(16, seed=3)).evaluate(16, "lr-hr")
    assert len(teacher.inputs) == batches
    assert figures(row) == approx(figures(evaluate(Net(16, seed=3), pairs_file, 16, "lr-hr", teacher=Teacher())))


def test_students_share_what_the_first_of_them_made_the_teacher_embed(pairs_file):
    """The shared evaluator has embedded nothing by the teacher, as in a comparison of many students."""
    teacher = Teacher()
    evaluator = PairEvaluator(Net(16), pairs_file, teacher)
    evaluator.with_student(Net(16, seed=3)).evaluate(16, "lr-hr")
    batches = len(teacher.inputs)
    evaluator.with_student(Net(16, seed=4)).evaluate(16, "lr-hr")
    assert 0 < batches == len(teacher.inputs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"protocol": "hr-hr"}, "protocol must be one of lr-lr, lr-hr, got 'hr-hr'"),
        ({"high_side": "both"}, "high_side must be one of"),
        ({"high_side": "teacher"}, "needs a teacher"),
        ({"student": Net(16)}, "default for a student of 16 px"),
        ({"teacher": Teacher(9), "high_side": "teacher"}, "6 wide, the teacher's 9"),
        ({"student": Teacher(), "facebn": "full"}, "give the .pt"),
        ({"facebn": "tent"}, "stateless, stream, full"),
        ({"facebn": "full", "keep": 2}, "0 to 1"),
        ({"order": "random"}, "'file' or a seed"),
        ({"px": 113}, "113"),
    ],
)
def test_invalid_specs_are_rejected(pairs_file, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**{"student": Net(), "pairs_file": pairs_file, "px": 16, "protocol": "lr-hr"} | options)


def test_unreadable_image_is_named(tmp_path, images):
    write_pairs(tmp_path / "bad.bin", [png(images[0]), b"no image"] * 10, [True, False] * 5)
    with pytest.raises(ValueError, match="bad.bin: pair 0, second image"):
        PairEvaluator(Net(), tmp_path / "bad.bin")


@pytest.mark.slow
def test_real_teacher_on_16_px_images(aird_data):
    needs("onnxruntime")
    teacher = load_teacher(aird_data / "teacher" / "mobilefacenet_casia.onnx")
    evaluator = PairEvaluator(teacher, aird_data / "lfw" / "lfw_view1.bin")
    assert evaluator.evaluate(16, "lr-lr")["accuracy"] == pytest.approx(62.5, abs=0.2)
    assert evaluator.evaluate(16, "lr-hr")["accuracy"] == pytest.approx(80.3, abs=0.2)


@pytest.mark.slow
def test_facebn_and_its_control_on_the_real_network(aird_data):
    network = load_network(aird_data / "teacher" / "mobilefacenet_casia.pt")
    evaluator = PairEvaluator(network, aird_data / "lfw" / "lfw_view1.bin", flip=False)
    frozen, centered = (evaluator.evaluate(16, "lr-lr", centre=centre)["accuracy"] for centre in (False, True))
    adapted = evaluator.evaluate(16, "lr-lr", facebn="stateless", keep=0.9, order=0)["accuracy"]
    assert frozen == pytest.approx(59.1, abs=0.2)
    assert centered == pytest.approx(80.5, abs=0.2)
    # Another shuffle changes it by about a point.
    assert adapted == pytest.approx(82.4, abs=1.5)
