"""Several teachers as one: the embedding by hand, the fingerprint, and what does not fit."""

import pickle

import numpy as np
import pytest
import torch

from aird_plugin.models import build
from aird_plugin.models.ensemble import Ensemble
from aird_plugin.models.load import load_teachers
from aird_plugin.models.teacher_feature_maps import TeacherMaps

NAME = "native112_0.05m"


@pytest.fixture
def files(tmp_path):
    """Two teachers of width 16 and one of width 8."""
    paths = []
    for seed, width in enumerate((16, 16, 8)):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.pt")
        torch.save(build(NAME, width).state_dict(), paths[-1])
    return paths


def unit(embeddings_ND):
    return embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)


def test_mean_and_concat_by_hand(files, noise_faces):
    images_NHWC = noise_faces(5)
    parts = [unit(load_teachers(path, NAME).embed(images_NHWC)) for path in files]
    mean = load_teachers(tuple(files[:2]), NAME)
    np.testing.assert_allclose(mean.embed(images_NHWC), (parts[0] + parts[1]) / 2, rtol=0, atol=1e-6)
    concat = load_teachers(tuple(files), NAME, join="concat")
    embeddings_ND = concat.embed(images_NHWC)
    assert concat.dim == 40 and embeddings_ND.shape == (5, 40) and concat.classifier is None
    np.testing.assert_allclose(np.linalg.norm(embeddings_ND, axis=1), 1, atol=1e-6)
    cosines = sum(part @ part.T for part in parts) / 3
    np.testing.assert_allclose(embeddings_ND @ embeddings_ND.T, cosines, atol=1e-5)


def test_fingerprint_covers_files_order_join_and_input(files):
    both = tuple(files[:2])
    found = [
        load_teachers(both, NAME),
        load_teachers(both[::-1], NAME),
        load_teachers(both, NAME, join="concat"),
        load_teachers(both, NAME, inputs=(None, {"color": "bgr"})),
        load_teachers((files[0], files[0]), NAME),
    ]
    assert len({teacher.sha256 for teacher in found}) == len(found)
    assert load_teachers(both, NAME).sha256 == found[0].sha256
    described = found[3].describe()
    assert described["join"] == "mean" and described["teachers"][1]["input"] == {"color": "bgr"}
    assert described["file"] == "0.pt + 1.pt" and described["sha256"] == found[3].sha256[:16]


def test_one_path_in_a_tuple_is_that_teacher(files):
    assert load_teachers((files[0],), NAME).describe() == load_teachers(files[0], NAME).describe()


def test_ensemble_pickles(files, noise_faces):
    teacher = load_teachers(tuple(files[:2]), NAME)
    again = pickle.loads(pickle.dumps(teacher))
    np.testing.assert_array_equal(again.embed(noise_faces(2)), teacher.embed(noise_faces(2)))


def test_what_does_not_fit_is_rejected(files):
    with pytest.raises(ValueError, match=r"one width, got 0\.pt 16, 2\.pt 8; use teacher_join='concat'"):
        load_teachers((files[0], files[2]), NAME)
    with pytest.raises(ValueError, match="teacher_join is mean or concat; got 'sum'"):
        load_teachers(tuple(files[:2]), NAME, join="sum")
    with pytest.raises(ValueError, match="2 files and teacher_input has 1 entries"):
        load_teachers(tuple(files[:2]), NAME, inputs=(None,))
    with pytest.raises(ValueError, match="two teachers or more, got 0"):
        Ensemble([])
    teacher = load_teachers(tuple(files[:2]), NAME)
    with pytest.raises(ValueError, match=r"an ensemble, which gives embeddings only"):
        TeacherMaps(teacher, build(NAME, 16))
