import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aird_plugin.data.degrade import arrive, shrink
from aird_plugin.data.lowres import RESIZE, low_faces, resize_faces, to_input
from aird_plugin.data.pairs import write_pairs
from aird_plugin.evaluation.embed import embed, normalise
from aird_plugin.evaluation.protocol import Session, as_seen, evaluate
from aird_plugin.evaluation.verification import verify
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.load import load_teacher
from aird_plugin.models.weights import load_network
from tests.skips import needs

PAIRS = 12
SAME = np.arange(PAIRS) % 3 != 1


class Net(nn.Module):
    """A network with BatchNorm for faces of any side; remembers the faces of each batch."""

    def __init__(self, side=112, width=6, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.input_size = side
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(8), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 36, width),
        )  # fmt: skip
        self.seen = []
        self.eval()

    def forward(self, x):
        self.seen.append(x)
        return self.layers(x)


class Teacher:
    """Duck of a teacher: no nn.Module."""

    def __init__(self, width=6):
        self.net, self.seen = Net(width=width, seed=5), []

    def embed(self, faces_NHWC):
        self.seen.append(faces_NHWC)
        with torch.no_grad():
            return self.net(to_input(torch.from_numpy(faces_NHWC))).numpy()


@pytest.fixture
def faces(noise_faces):
    """Faces of twelve pairs; the faces of a same pair resemble each other."""
    faces = noise_faces(2 * PAIRS)
    for pair in np.flatnonzero(SAME):
        faces[2 * pair + 1] = faces[2 * pair] // 2 + faces[2 * pair + 1] // 2
    faces[20] = faces[4]
    return faces


@pytest.fixture
def pairs_file(faces, tmp_path):
    write_pairs(tmp_path / "pairs.bin", [png(face) for face in faces], SAME)
    return tmp_path / "pairs.bin"


def png(face):
    file = io.BytesIO()
    Image.fromarray(face).save(file, "PNG")
    return file.getvalue()


def numbers(row):
    return {key: row[key] for key in verify(np.eye(20)[:20], [True, False] * 5)}


def mixed(low, high):
    out = np.empty((2 * PAIRS, low.shape[1]), np.float32)
    out[0::2], out[1::2] = low, high
    return out


def approx(row):
    figures = {key: pytest.approx(value, abs=1e-6) for key, value in row.items() if key != "tar"}
    return figures | {"tar": row["tar"]}


def test_a_row_has_the_promised_keys(pairs_file):
    row = evaluate(Net(), pairs_file, 16, "lr-hr")
    assert list(row) == (
        "pairs pairs_sha256 px protocol high_side facebn keep order batch centre degradation resize n_pairs n_impostor n_near "
        "accuracy accuracy_std accuracy_best auc tar ci95"
    ).split()
    assert row["pairs"] == str(pairs_file) and row["resize"] == RESIZE and row["degradation"] == "bicubic"
    assert (row["px"], row["protocol"], row["high_side"]) == (16, "lr-hr", "student")
    assert (row["facebn"], row["keep"], row["order"], row["batch"]) == (None, None, "file", 96)
    assert row["centre"] is False
    assert (row["n_pairs"], row["n_impostor"]) == (12, 4)
    assert evaluate(Net(), pairs_file, 16, "lr-lr")["high_side"] is None


def test_lr_lr_shrinks_both_faces(pairs_file, faces):
    row = evaluate(Net(), pairs_file, 16, "lr-lr")
    assert numbers(row) == approx(verify(embed(Net(), low_faces(faces, 16)), SAME))


def test_lr_hr_shrinks_the_first_face_alone(pairs_file, faces):
    row = evaluate(Net(), pairs_file, 16, "lr-hr")
    by_hand = mixed(embed(Net(), low_faces(faces[0::2], 16)), embed(Net(), faces[1::2]))
    assert numbers(row) == approx(verify(by_hand, SAME))


@pytest.mark.parametrize("side", [112, 16])
def test_low_faces_alone_come_by_the_degradation(pairs_file, faces, side):
    student, teacher = Net(side), Teacher()
    row = evaluate(student, pairs_file, 16, "lr-hr", "teacher", teacher, degradation="insightface-warp")
    warped = arrive(shrink(faces[0::2], 16), side, "insightface-warp")
    assert numbers(row) == approx(verify(mixed(embed(Net(side), warped), embed(Teacher(), faces[1::2])), SAME))
    assert row["degradation"] == "insightface-warp"
    assert (warped != arrive(shrink(faces[0::2], 16), side)).any()


def test_a_session_keeps_degradations_apart(pairs_file):
    session = Session(Net(), pairs_file)
    one, other = (session.embeddings(16, "lr-lr", degradation=name) for name in ("bicubic", "jpeg"))
    assert np.abs(one - other).max() > 1e-3
    with pytest.raises(ValueError, match="degradation is one of"):
        session.evaluate(16, "lr-lr", degradation="fog")


def test_px_112_is_untouched(pairs_file, faces):
    expected = approx(verify(embed(Net(), faces), SAME))
    assert numbers(evaluate(Net(), pairs_file, 112, "lr-lr")) == expected
    assert numbers(evaluate(Net(), pairs_file, 112, "lr-hr")) == expected


def test_a_native_student_meets_the_teacher_on_the_high_side(pairs_file, faces):
    student, teacher = Net(16), Teacher()
    row = evaluate(student, pairs_file, 16, "lr-hr", teacher=teacher)
    assert row["high_side"] == "teacher"
    by_hand = mixed(embed(Net(16), low_faces(faces[0::2], 16, grow=False)), embed(Teacher(), faces[1::2]))
    assert numbers(row) == approx(verify(by_hand, SAME))
    assert {x.shape[2] for x in student.seen} == {16}
    assert {x.shape[1] for x in teacher.seen} == {112}


@pytest.mark.parametrize("px", [8, 16, 32, 112])
def test_what_a_native_student_sees_at_any_px(faces, px):
    seen = as_seen(faces, px, side=16)
    assert seen.shape == (2 * PAIRS, 16, 16, 3)
    assert np.array_equal(seen, resize_faces(resize_faces(faces, px), 16))


def test_the_teacher_can_be_asked_to_embed_the_high_side_of_a_112_px_student(pairs_file, faces):
    row = evaluate(Net(), pairs_file, 16, "lr-hr", "teacher", Teacher())
    by_hand = mixed(embed(Net(), low_faces(faces[0::2], 16)), embed(Teacher(), faces[1::2]))
    assert row["high_side"] == "teacher" and numbers(row) == approx(verify(by_hand, SAME))


@pytest.mark.parametrize("mode", ["stateless", "stream", "full"])
def test_facebn_adapts_each_side_from_the_training_statistics(pairs_file, faces, mode):
    net = Net()
    row = evaluate(net, pairs_file, 16, "lr-hr", batch=4, facebn=mode, keep=0.1)
    sides = []
    for side in (low_faces(faces[0::2], 16), faces[1::2]):
        fresh = Net()
        with FaceBN(fresh, 0.1, mode) as bn:
            if mode == "full":
                inputs = to_input(torch.from_numpy(side))
                bn.adapt(torch.cat([x, x.flip(3)]) for x in inputs.split(4))
            sides.append(embed(fresh, side, 4))
    assert numbers(row) == approx(verify(mixed(*sides), SAME))
    assert (row["facebn"], row["keep"], row["batch"]) == (mode, 0.1, 4)
    assert torch.equal(net.layers[2].running_mean, torch.zeros(8))


def test_facebn_never_adapts_the_teacher(pairs_file, faces):
    row = evaluate(Net(), pairs_file, 16, "lr-hr", "teacher", Net(seed=5), facebn="stateless", keep=0.1)
    student = Net()
    with FaceBN(student, 0.1):
        low = embed(student, low_faces(faces[0::2], 16))
    assert numbers(row) == approx(verify(mixed(low, embed(Net(seed=5), faces[1::2])), SAME))


def fingerprints(x_B3SS):
    return {x.contiguous().numpy().tobytes() for x in x_B3SS}


def test_low_and_high_faces_never_share_a_batch(pairs_file, faces):
    net = Net()
    evaluate(net, pairs_file, 8, "lr-hr", facebn="stateless", order=1)
    sides = low_faces(faces[0::2], 8), faces[1::2]
    low, high = (fingerprints(to_input(torch.from_numpy(side))) for side in sides)
    for batch in net.seen:
        half = fingerprints(batch[: len(batch) // 2])
        assert half <= low or half <= high


def test_order_and_batch_change_facebn_alone(pairs_file):
    def aucs(**options):
        found = set()
        for batch, order in itertools.product((4, 24), ("file", 0, 1)):
            row = evaluate(Net(), pairs_file, 16, "lr-lr", batch=batch, order=order, keep=0, **options)
            found.add(row["auc"])
        return found

    assert len(aucs()) == 1
    assert len(aucs(facebn="stream")) > 2


def test_centre_takes_each_sides_own_mean(pairs_file, faces):
    low, high = embed(Net(), low_faces(faces[0::2], 16)), embed(Net(), faces[1::2])
    row = evaluate(Net(), pairs_file, 16, "lr-hr", centre=True)
    assert numbers(row) == approx(verify(mixed(*(normalise(e - e.mean(0)) for e in (low, high))), SAME))
    assert row["centre"] is True
    both = embed(Net(), low_faces(faces, 16))
    row = evaluate(Net(), pairs_file, 16, "lr-lr", centre=True)
    assert numbers(row) == approx(verify(normalise(both - both.mean(0)), SAME))


def test_a_session_embeds_each_image_once_at_each_px(pairs_file):
    net = Net()
    session = Session(net, pairs_file)
    rows = [session.evaluate(*ask) for ask in itertools.product((16, 112), ("lr-hr", "lr-lr", "lr-hr"))]
    # Two flips, two px; one image stands in two pairs.
    assert sum(len(x) for x in net.seen) == 2 * 2 * (2 * PAIRS - 1)
    assert numbers(rows[1]) == approx(numbers(evaluate(Net(), pairs_file, 16, "lr-lr")))


def test_another_student_shares_the_teachers_embeddings_and_nothing_else(pairs_file):
    teacher = Teacher()
    session = Session(Net(16), pairs_file, teacher)
    session.evaluate(16, "lr-hr")
    asked = len(teacher.seen)
    row = session.with_student(Net(16, seed=3)).evaluate(16, "lr-hr")
    assert len(teacher.seen) == asked
    assert numbers(row) == approx(numbers(evaluate(Net(16, seed=3), pairs_file, 16, "lr-hr", teacher=Teacher())))


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
def test_questions_without_an_answer_are_refused(pairs_file, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**{"student": Net(), "pairs_file": pairs_file, "px": 16, "protocol": "lr-hr"} | options)


def test_an_unreadable_image_is_named(tmp_path, faces):
    write_pairs(tmp_path / "bad.bin", [png(faces[0]), b"no image"] * 10, [True, False] * 5)
    with pytest.raises(ValueError, match="bad.bin: pair 0, second image"):
        Session(Net(), tmp_path / "bad.bin")


@pytest.mark.slow
def test_the_real_teacher_on_16_px_faces(aird_data):
    needs("onnxruntime")
    teacher = load_teacher(aird_data / "teacher" / "mobilefacenet_casia.onnx")
    session = Session(teacher, aird_data / "lfw" / "lfw_view1.bin")
    assert session.evaluate(16, "lr-lr")["accuracy"] == pytest.approx(62.5, abs=0.2)
    assert session.evaluate(16, "lr-hr")["accuracy"] == pytest.approx(80.3, abs=0.2)


@pytest.mark.slow
def test_facebn_and_its_control_on_the_real_network(aird_data):
    network = load_network(aird_data / "teacher" / "mobilefacenet_casia.pt")
    session = Session(network, aird_data / "lfw" / "lfw_view1.bin", flip=False)
    frozen, centred = (session.evaluate(16, "lr-lr", centre=centre)["accuracy"] for centre in (False, True))
    adapted = session.evaluate(16, "lr-lr", facebn="stateless", keep=0.9, order=0)["accuracy"]
    assert frozen == pytest.approx(59.1, abs=0.2)
    assert centred == pytest.approx(80.5, abs=0.2)
    # Batches of another shuffle move it by about a point.
    assert adapted == pytest.approx(82.4, abs=1.5)
