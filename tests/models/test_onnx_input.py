"""Other people's recognisers: the same network behind another input has the same embeddings."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.models.teacher_input import TeacherInput
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from aird_plugin.models import onnx_normalisation  # noqa: E402
from tests.models import onnx_variants  # noqa: E402
from tests.models.onnx_variants import VARIANTS, write_variant  # noqa: E402
from tests.models.test_onnx_teacher import write_graph  # noqa: E402

REAL = Path(os.environ.get("AIRD_DATA", "data")) / "teacher"
# Half precision of the input: 2**-11 of a value up to 1, averaged over an image; everything else rounds in float32.
COARSE = {"float16": 2**-11}


@pytest.fixture
def plain(tmp_path):
    return write_graph(tmp_path / "plain.onnx")


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_embeds_as_the_plain_graph(plain, tmp_path, noise_faces, name):
    stated = write_variant(plain, tmp_path / "variant.onnx", name)
    images_NHWC = noise_faces(5)
    images_NHWC[..., 2] //= 3
    expected_ND = load_teacher(plain).embed(images_NHWC)
    teacher = load_teacher(tmp_path / "variant.onnx", teacher_input=stated)
    embeddings_ND = teacher.embed(images_NHWC)
    assert embeddings_ND.dtype == np.float32 and embeddings_ND.shape == expected_ND.shape
    if name == "two outputs, a norm":
        expected_ND = expected_ND / np.linalg.norm(expected_ND, axis=1, keepdims=True)
    # A mean colour is below 1 and meets three weights below 4; means of 0..255 round 127.5 times as coarsely.
    atol = 12 * (COARSE.get(name, 0) + 127.5 * 2**-23 * 16)
    np.testing.assert_allclose(embeddings_ND, expected_ND, rtol=0, atol=atol)
    assert atol < np.abs(expected_ND).max() / 10


@pytest.mark.parametrize("name", ["bgr", "(x - 127) / 128", "imagenet", "two embeddings"])
def test_what_no_file_shows_has_to_be_stated(plain, tmp_path, noise_faces, name):
    write_variant(plain, tmp_path / "variant.onnx", name)
    images_NHWC = noise_faces(3)
    images_NHWC[..., 2] //= 3
    if name == "two embeddings":
        with pytest.raises(
            ValueError, match="2 outputs that can be the embedding: 'square' .*name one, for example output=square"
        ):
            load_teacher(tmp_path / "variant.onnx")
        return
    difference = load_teacher(tmp_path / "variant.onnx").embed(images_NHWC) - load_teacher(plain).embed(images_NHWC)
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("raw, other node names", "raw"),
        ("raw, scaled then shifted", "raw"),
        ("raw, divided by 255", "raw"),
        ("raw, BatchNorm", "raw"),
        ("raw, channels in order", "raw"),
        ("raw, numbers in attributes", "raw"),
        ("raw, channel by channel", "raw"),
        ("raw, clipped and resized", "raw"),
        ("0..1", "unit"),
        ("0..1, one tensor", "unit"),
        ("bgr", "centred"),
        ("nhwc", "centred"),
    ],
)
def test_grey_levels_by_the_first_operations(plain, tmp_path, name, levels):
    write_variant(plain, tmp_path / "variant.onnx", name)
    assert onnx_normalisation.grey_levels(onnx.load(tmp_path / "variant.onnx"), "image") == levels


def test_trained_batchnorm_on_normalised_images_is_no_normalisation_of_raw_ones(plain):
    """A BatchNorm over -1..1 has a mean near 0 and a variance below 1."""
    model = onnx.load(plain)
    three = np.ones(3, np.float32)
    constants = {"g": 0.8 * three, "b": 0.1 * three, "mu": -0.1 * three, "v": 0.3 * three}
    onnx_variants.in_front(
        model,
        lambda old: [onnx.helper.make_node("BatchNormalization", ["image", "g", "b", "mu", "v"], [old])],
        constants,
    )
    affine, behind = onnx_normalisation.leading_affine(model, "image")
    scale = 0.8 / np.sqrt(0.3 + 1e-5)
    assert affine == pytest.approx((-(0.1 + 0.1 * scale) / scale, 1 / scale, True)) and behind == "GlobalAveragePool"
    assert onnx_normalisation.grey_levels(model, "image") == "centred"


def test_unclear_first_operations_leave_the_rule_of_names(plain):
    """Two branches, and a constant that is computed, show nothing."""
    model = onnx.load(plain)
    nodes = [onnx.helper.make_node("Sigmoid", ["image"], ["s"]), onnx.helper.make_node("Mul", ["image", "s"], ["data"])]
    onnx_variants.in_front(model, lambda old: nodes)
    assert onnx_normalisation.grey_levels(model, "image") is None


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"preprocessing": {"mean": 127.0, "std": 128.0}}, {"mean": 127.0, "std": 128.0}),
        ({"preprocessing": "embedded"}, {"mean": 0.0, "std": 1.0}),
        ({"preprocessing": "embedded", "file": "other.onnx"}, None),
        ({"preprocessing": "embedded", "sha256": "0" * 64}, None),
        ({"preprocessing": {"mean": 127.5, "std": 127.5}}, None),
        ({}, None),
    ],
)
def test_manifest_beside_the_file_states_the_normalisation(plain, task, expected):
    recognition = {"file": plain.name} | task
    manifest = {"manifest_version": 2, "tasks": {"recognition": recognition}}
    (plain.parent / "manifest.json").write_text(json.dumps(manifest))
    assert load_teacher(plain).describe().get("input") == expected
    assert load_teacher(plain, teacher_input={"mean": 127.5, "std": 127.5}).describe().get("input") is None


def test_wrong_manifest_is_one_line(plain):
    task = {"file": plain.name, "preprocessing": {"mean": 127.5, "std": 0}}
    (plain.parent / "manifest.json").write_text(json.dumps({"manifest_version": 2, "tasks": {"recognition": task}}))
    with pytest.raises(ValueError, match=r"manifest\.json: teacher_input: std is in grey levels"):
        load_teacher(plain)
    (plain.parent / "manifest.json").write_text("no json")
    assert "input" not in load_teacher(plain).describe()


def test_image_of_112_by_96_is_the_center_of_the_crop(plain, tmp_path, noise_faces):
    onnx.save(onnx_variants.padded_from_96(onnx.load(plain)), tmp_path / "narrow.onnx")
    images_NHWC = noise_faces(3)
    narrow_NHWC = np.full_like(images_NHWC, 0)
    narrow_NHWC[:, :, 8:104] = images_NHWC[:, :, 8:104]
    teacher = load_teacher(tmp_path / "narrow.onnx")
    assert teacher.input.size == (112, 96) and teacher.input_size == 112
    # Black is -1 to the plain graph and 0 to the padding.
    black_ND = load_teacher(plain).embed(np.zeros_like(images_NHWC)) * 16 / 112
    expected_ND = load_teacher(plain).embed(narrow_NHWC) - black_ND
    np.testing.assert_allclose(teacher.embed(images_NHWC), expected_ND, rtol=0, atol=12 * 2**-23 * 112)


def test_free_sides_need_a_stated_size(tmp_path, noise_faces):
    path = write_graph(tmp_path / "free.onnx", shape=("N", 3, "H", "W"))
    with pytest.raises(ValueError, match="if it takes 112 px, state size=112"):
        load_teacher(path)
    fixed = load_teacher(write_graph(tmp_path / "fixed.onnx"))
    np.testing.assert_array_equal(
        load_teacher(path, teacher_input={"size": 112}).embed(noise_faces(2)), fixed.embed(noise_faces(2))
    )


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"layout": "nhwc"}, "has an input with layout 'nchw', but layout 'nhwc' is stated; leave it out"),
        ({"dtype": "float16"}, "has an input with dtype 'float32'"),
        ({"size": (112, 96)}, "has an input with size .112, 112."),
        ({"output": "norm"}, "output 'norm' is none of them"),
        ({"output": 4}, "output 4 is none of them"),
    ],
)
def test_statement_that_contradicts_the_graph_is_rejected(plain, stated, message):
    with pytest.raises(ValueError, match=message):
        load_teacher(plain, teacher_input=stated)


def test_a_model_takes_the_same_statement(plain, tmp_path, noise_faces):
    write_variant(plain, tmp_path / "b.onnx", "bgr")
    model = load_model(tmp_path / "b.onnx", model_input={"color": "bgr"})
    np.testing.assert_allclose(model.embed(noise_faces(2)), load_model(plain).embed(noise_faces(2)), rtol=0, atol=1e-5)


def test_with_input_feeds_the_same_session_in_another_way(plain, noise_faces):
    teacher = load_teacher(plain)
    other = teacher.with_input(TeacherInput(color="bgr"))
    images_NHWC = noise_faces(2)
    assert other.session is teacher.session and "input" not in teacher.describe()
    assert other.describe()["input"] == {"color": "bgr"}
    np.testing.assert_array_equal(other.embed(np.ascontiguousarray(images_NHWC[..., ::-1])), teacher.embed(images_NHWC))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_a_real_teacher(tmp_path, name):
    from aird_plugin.data.pairs import distinct_faces, read_pairs
    from aird_plugin.export.check import minimum_cosine

    source = REAL / "edgeface_xs.onnx"
    if not source.is_file():
        pytest.skip("no real images at AIRD_DATA")
    pairs = read_pairs(REAL.parent / "lfw" / "lfw_view1.bin")
    images_NHWC = distinct_faces(pairs._replace(images=pairs.images[:8], same=pairs.same[:4]))[0]
    images_NHWC = np.stack([images_NHWC[..., 0], images_NHWC[..., 1] // 2, images_NHWC[..., 2] // 3], -1)
    stated = write_variant(source, tmp_path / "variant.onnx", name)
    embeddings_ND = load_teacher(tmp_path / "variant.onnx", teacher_input=stated).embed(images_NHWC)
    assert minimum_cosine(embeddings_ND, load_teacher(source).embed(images_NHWC)) > (0.999 if name in COARSE else 0.99999)
