"""Synthetic people: the same everywhere, different where they should be, hard from pixels, and learnable."""

import subprocess
import sys

import numpy as np
import pytest

from aird_plugin.data.canvas import Canvas
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.synthetic import draw_person

GOLDEN = (
    "625e58565962583425253651586071886166645f5a4322222123222a5f6d7986"
    "6f7c7c7259232222222222223f7a7a80818f8d804145393e492e2223236c7878"
    "848f8d783650565857564c50314e726977817e5d3c4a344f575859545141665a"
    "676d704e4450494a58584c304d4262586168694d4b4d4248575753405146675e"
    "656a614b4b5257585559565352506b6664676a504c525758565a595852506b6b"
    "5e616c724e5357574d525158515a7a765e616b6f4f53543b3340545852828e8a"
    "696b727550565849404259575e9099987c75737759575859555a5a566f8d9896"
    "85786f6a5a56595a5a5b5c5b6f7d85848572635748475d6966564e5b63697075"
)


def draw(people, faces) -> np.ndarray:
    """(len(people) * faces, 112, 112, 3), person after person."""
    return np.stack([draw_person(person, face) for person in people for face in range(faces)])


@pytest.fixture(scope="module")
def training_faces():
    return draw(range(160), 8)


@pytest.fixture(scope="module")
def held_out_faces():
    return draw(range(1000, 1050), 6)


def test_a_face_is_uint8_rgb_of_112_px():
    face = draw_person(0, 0)
    assert face.shape == (112, 112, 3) and face.dtype == np.uint8 and face.flags["C_CONTIGUOUS"]


def test_a_face_depends_on_its_three_numbers_alone():
    first = draw_person(7, 3, seed=5)
    np.random.seed(1)
    draw_person(8, 3, seed=5)
    assert np.array_equal(draw_person(7, 3, seed=5), first)
    for other in ((7, 4, 5), (8, 3, 5), (7, 3, 6)):
        assert np.abs(draw_person(*other).astype(int) - first).mean() > 5


def test_another_process_draws_the_same_face():
    code = (
        "import sys; from aird_plugin.data.synthetic import draw_person;"
        "sys.stdout.buffer.write(draw_person(7, 3, 5).tobytes())"
    )
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert drawn == draw_person(7, 3, seed=5).tobytes()


def test_the_stored_face_is_still_drawn():
    """Shrunk to 16 px grey and compared within 2 levels: people on disk keep meaning the people of the code."""
    stored = np.frombuffer(bytes.fromhex(GOLDEN), np.uint8).reshape(16, 16)
    assert np.abs(thumbnail(draw_person(3, 1, seed=0)).astype(int) - stored).max() <= 2


def thumbnail(face) -> np.ndarray:
    """Plain 7x7 means of the grey picture, so that no resize of a library is under test."""
    return face.mean(2).reshape(16, 7, 16, 7).mean((1, 3)).round().astype(np.uint8)


def test_a_person_keeps_no_pose_light_or_background():
    """Two photos of a person differ about as much as photos of two people do."""
    faces = draw(range(30), 2).astype(np.float32)
    same = np.abs(faces[::2] - faces[1::2]).mean()
    different = np.abs(faces[::2] - np.roll(faces[1::2], 1, axis=0)).mean()
    assert 0.8 < same / different < 1


@pytest.mark.parametrize("numbers", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_negative_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match="count from 0"):
        draw_person(*numbers)


def test_raw_pixels_name_nobody(held_out_faces):
    """The nearest picture in pixels is hardly ever another photo of the same person (chance: 5 of 299)."""
    assert nearest_is_same(held_out_faces.reshape(len(held_out_faces), -1)) < 0.1


def test_colours_name_nobody(held_out_faces):
    """Nor is the nearest in the mean colours of hair, forehead, cheeks and chin."""
    spots = [(22, 56), (38, 56), (68, 38), (68, 74), (92, 56)]
    colours = [held_out_faces[:, y - 4 : y + 4, x - 4 : x + 4].mean((1, 2)) for y, x in spots]
    assert nearest_is_same(np.concatenate(colours, 1)) < 0.15


def nearest_is_same(features_NF, faces_per_person=6) -> float:
    features_NF = np.asarray(features_NF, np.float32)
    people_N = np.arange(len(features_NF)) // faces_per_person
    squares_N = (features_NF**2).sum(1)
    distances_NN = squares_N[:, None] + squares_N - 2 * features_NF @ features_NF.T
    np.fill_diagonal(distances_NN, np.inf)
    return float((people_N[distances_NN.argmin(1)] == people_N).mean())


@pytest.mark.parametrize("px", [16, 32])
def test_identity_can_be_learnt_and_carries_over_to_new_people(training_faces, held_out_faces, px):
    """A linear map fitted to some people (Fisher's discriminant) helps with others, and is far from enough."""
    grey = [
        low_faces(faces, px, grow=False).mean(3).reshape(len(faces), -1)
        for faces in (training_faces, held_out_faces)
    ]
    mean = grey[0].mean(0)
    untrained = verification_accuracy(grey[1] - mean)
    learnt = verification_accuracy((grey[1] - mean) @ fisher_map(grey[0] - mean, 8))
    assert untrained < 0.6
    assert untrained + 0.05 < learnt < 0.9


def fisher_map(features_NF, faces_per_person) -> np.ndarray:
    """Whitens what varies within people, then keeps the 60 directions in which people differ most."""
    means_CF = features_NF.reshape(-1, faces_per_person, features_NF.shape[1]).mean(1)
    within_NF = features_NF - np.repeat(means_CF, faces_per_person, 0)
    within_FF = within_NF.T @ within_NF / len(within_NF)
    within_FF += 0.05 * np.trace(within_FF) / len(within_FF) * np.eye(len(within_FF))
    whiten_FF = np.linalg.inv(np.linalg.cholesky(within_FF)).T
    directions_FF = np.linalg.svd(means_CF @ whiten_FF, full_matrices=False)[2]
    return whiten_FF @ directions_FF[:60].T


def verification_accuracy(features_NF, faces_per_person=6) -> float:
    """Mean of true accepts and true rejects over all pairs, at the best cosine threshold."""
    features_NF = features_NF / np.linalg.norm(features_NF, axis=1, keepdims=True)
    first, second = np.triu_indices(len(features_NF), 1)
    same = first // faces_per_person == second // faces_per_person
    cosines = (features_NF @ features_NF.T)[first, second]
    thresholds = np.quantile(cosines, np.linspace(0, 1, 500))
    accepts = 1 - np.searchsorted(np.sort(cosines[same]), thresholds) / same.sum()
    rejects = np.searchsorted(np.sort(cosines[~same]), thresholds) / (~same).sum()
    return float(((accepts + rejects) / 2).max())


def test_a_window_paints_through_and_may_be_empty():
    axis = np.linspace(-1, 1, 21, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    canvas = Canvas(u, v, np.zeros((3, 21, 21), np.float32))
    window = canvas.near(0.5, -0.5, 0.25, 0.15)
    window.paint(np.ones_like(window.u), (1, 0.5, 0))
    painted = canvas.rgb[0] == 1
    assert (
        painted.sum() == 5 * 3
        and np.all(np.abs(u[painted] - 0.5) < 0.25)
        and np.all(np.abs(v[painted] + 0.5) < 0.15)
    )
    empty = canvas.near(9, 9, 0.1, 0.1)
    empty.paint(np.ones_like(empty.u), (1, 1, 1))
    assert empty.u.size == 0 and (canvas.rgb[0] == 1).sum() == 15
