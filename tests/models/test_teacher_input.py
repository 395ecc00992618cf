"""TeacherInput: the transformation against a loop over pixels, the checks, and what goes into manifests."""

import json

import numpy as np
import pytest
import torch

from aird_plugin.data.lowres import to_input
from aird_plugin.models.load import load_teacher
from aird_plugin.models.teacher_feature_maps import TeacherMaps
from aird_plugin.models.teacher_input import USUAL, TeacherInput

IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def by_loop(images_BHWC, color, mean, std, layout):
    """(x - mean) / std, channel by channel in the network's order, from uint8 RGB."""
    out = []
    for image_HWC in images_BHWC.astype(np.float64):
        channels = [image_HWC[..., index] for index in ((0, 1, 2) if color == "rgb" else (2, 1, 0))]
        fed = [(channel_HW - m) / s for channel_HW, m, s in zip(channels, mean, std, strict=True)]
        out.append(np.stack(fed, 0 if layout == "nchw" else -1))
    return np.stack(out)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("levels", [IMAGENET, {"mean": 127, "std": 128}, {"mean": 0, "std": 1}, {"mean": 0, "std": 255}])
def test_transformation_equals_a_loop(noise_faces, color, layout, levels):
    images_BHWC = noise_faces(2)
    stated = TeacherInput(color=color, layout=layout, **levels)
    fed = stated.apply(to_input(torch.from_numpy(images_BHWC))).numpy()
    expected = by_loop(images_BHWC, color, stated.mean, stated.std, layout)
    # Normalised values below 1 carry 2**-24; the affine map multiplies them by 127.5 / std and rounds twice.
    np.testing.assert_allclose(fed, expected, rtol=0, atol=4 * 2**-24 * 255 / min(stated.std))


def test_usual_input_is_left_alone():
    inputs = torch.randn(2, 3, 112, 112)
    assert USUAL.apply(inputs) is inputs and TeacherInput().apply(inputs) is inputs


def test_uint8_input_gets_the_grey_levels_themselves(noise_faces):
    images_BHWC = noise_faces(2)
    fed = TeacherInput(mean=0, std=1, dtype="uint8", layout="nhwc").apply(to_input(torch.from_numpy(images_BHWC)))
    np.testing.assert_array_equal(fed.numpy(), images_BHWC)


def test_112_by_96_is_the_center(noise_faces):
    images_BHWC = noise_faces(1)
    inputs = to_input(torch.from_numpy(images_BHWC))
    fed = TeacherInput(size=(112, 96)).apply(inputs)
    assert torch.equal(fed, inputs[..., 8:104])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"color": "RGB"}, "color is 'rgb' or 'bgr'; got 'RGB'"),
        ({"colour": "rgb"}, "no key 'colour'; its keys are color, mean"),
        ({"std": 0.5}, "ImageNet's are mean .123.675"),
        ({"std": 0}, "std is in grey levels"),
        ({"std": float("nan")}, "std is a number or three"),
        ({"mean": (1, 2)}, "mean is a number or three"),
        ({"mean": "127.5"}, "mean is a number or three"),
        ({"mean": True}, "mean is a number or three"),
        ({"size": (96, 112)}, "size is 112, or .112, 96."),
        ({"size": 224}, "size is 112"),
        ({"size": 112.0}, "size is 112"),
        ({"dtype": "half"}, "dtype is 'float32' or 'float16' or 'uint8'"),
        ({"layout": 3}, "layout is"),
        ({"dtype": "uint8", "mean": 127.5}, "leave out mean and std"),
        ({"output": 1.5}, "name or the index"),
        ("bgr", "is a dict such as"),
        ([("color", "bgr")], "is a dict such as"),
    ],
)
def test_wrong_statement_is_rejected(given, message):
    with pytest.raises(ValueError, match=message):
        TeacherInput.of(given)


def test_statement_goes_through_json():
    stated = TeacherInput.of({"color": "bgr", **IMAGENET, "size": (112, 96), "output": 1})
    assert TeacherInput.of(json.loads(json.dumps(stated.describe()))) == stated
    assert TeacherInput(mean=127.5, std=(128, 128, 128)).describe() == {"mean": 127.5, "std": 128.0}
    assert TeacherInput(mean=127.5, std=128).describe(USUAL) == {"std": 128.0}


def test_pt_teacher_is_fed_as_stated(teacher_file, noise_faces):
    plain, images_NHWC = load_teacher(teacher_file), noise_faces(3)
    swapped_NHWC = np.ascontiguousarray(images_NHWC[..., ::-1])
    bgr = load_teacher(teacher_file, teacher_input={"color": "bgr"})
    np.testing.assert_array_equal(bgr.embed(swapped_NHWC), plain.embed(images_NHWC))
    assert bgr.describe()["input"] == {"color": "bgr"} and "input" not in plain.describe()
    maps_of = [TeacherMaps(one, one.net)(torch.from_numpy(images)) for one, images in ((bgr, swapped_NHWC), (plain, images_NHWC))]
    assert torch.equal(maps_of[0][0], maps_of[1][0]) and torch.equal(maps_of[0][1][0], maps_of[1][1][0])
    with pytest.raises(ValueError, match="leave out layout"):
        load_teacher(teacher_file, teacher_input={"layout": "nhwc"})
