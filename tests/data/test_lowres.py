import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.lowres import _two_passes, fixed_point_weights, low_faces, low_faces_torch, resize_torch, to_input


@pytest.mark.parametrize("px", [4, 7, 8, 14, 16, 23, 32, 56, 64, 111])
def test_low_faces_is_pillow(noise_faces, px):
    faces = noise_faces(3)
    small = np.stack([np.asarray(Image.fromarray(f).resize((px, px), Image.Resampling.BICUBIC)) for f in faces])
    grown = np.stack([np.asarray(Image.fromarray(f).resize((112, 112), Image.Resampling.BICUBIC)) for f in small])
    np.testing.assert_array_equal(low_faces(faces, px, grow=False), small)
    np.testing.assert_array_equal(low_faces(faces, px), grown)


@pytest.mark.parametrize("px", [4, 8, 16, 23, 32, 64, 111])
def test_the_torch_twin_equals_pillow_bit_for_bit_on_the_cpu(noise_faces, px):
    faces = noise_faces(4)
    for grow in (False, True):
        twin = low_faces_torch(torch.from_numpy(faces), px, grow=grow)
        np.testing.assert_array_equal(twin.numpy(), low_faces(faces, px, grow=grow))


def test_autocast_leaves_the_twin_alone(noise_faces):
    """In float32, as on a GPU."""
    faces = noise_faces(2)
    weights = torch.from_numpy(fixed_point_weights(112, 16)).float()
    with torch.autocast("cpu", torch.bfloat16):
        whole = low_faces_torch(torch.from_numpy(faces), 16, grow=False)
        rough = _two_passes(torch.from_numpy(faces), weights)
    near = _two_passes(torch.from_numpy(faces), weights)
    expected = low_faces(faces, 16, grow=False)
    np.testing.assert_array_equal(whole.numpy(), expected)
    assert np.abs(near.numpy().astype(int) - expected).max() <= 1
    assert torch.equal(rough, near) and (near.numpy() == expected).mean() > 0.999


def test_more_faces_than_a_block_and_none(noise_faces):
    faces = noise_faces(19)
    np.testing.assert_array_equal(low_faces_torch(torch.from_numpy(faces), 23).numpy(), low_faces(faces, 23))
    assert low_faces_torch(torch.from_numpy(faces[:0]), 16, grow=False).shape == (0, 16, 16, 3)


def test_the_twin_on_extreme_pixels():
    checker = (np.indices((112, 112)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None].repeat(3, 3)
    for px in (16, 75):
        np.testing.assert_array_equal(low_faces_torch(torch.from_numpy(checker), px).numpy(), low_faces(checker, px))


def test_a_flat_face_stays_flat():
    flat = np.full((1, 112, 112, 3), 201, np.uint8)
    assert (low_faces(flat, 16) == 201).all()


@pytest.mark.parametrize("px", [8, 16, 24, 32, 64])
def test_shrinking_commutes_with_the_flip(noise_faces, px):
    faces = noise_faces(4)
    flipped_then_low = low_faces(np.ascontiguousarray(faces[:, :, ::-1]), px, grow=False)
    np.testing.assert_array_equal(flipped_then_low, low_faces(faces, px, grow=False)[:, :, ::-1])


def test_px_112_leaves_faces_untouched(noise_faces):
    faces = noise_faces(2)
    assert low_faces(faces, 112) is faces


@pytest.mark.parametrize("px", [0, 3, 113, 16.0, True, "16"])
def test_a_wrong_px_is_refused_by_value(noise_faces, px):
    with pytest.raises(ValueError, match=r"4 to 112; got"):
        low_faces(noise_faces(1), px)


@pytest.mark.parametrize("faces", [np.zeros((2, 112, 112, 3), np.float32), np.zeros((112, 112, 3), np.uint8),
                                   np.zeros((1, 112, 96, 3), np.uint8), np.zeros((1, 3, 112, 112), np.uint8)])
def test_wrong_faces_are_refused(faces):
    with pytest.raises(ValueError, match="uint8"):
        low_faces(faces, 16)
    with pytest.raises(ValueError, match="uint8"):
        resize_torch(torch.from_numpy(faces), 16)


def test_weights_sum_to_one_within_fixed_point():
    for source, target in ((112, 16), (16, 112), (112, 23)):
        assert np.abs(fixed_point_weights(source, target).sum(1) - 1).max() < 2e-5


def test_to_input_is_insightfaces_range():
    faces = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 2, 2, 1).expand(1, 2, 2, 3)
    out = to_input(faces)
    assert out.shape == (1, 3, 2, 2)
    torch.testing.assert_close(out[0, 0].flatten(), torch.tensor([-1.0, -0.5 / 127.5, 0.5 / 127.5, 1.0]))
