"""Faces at the edge of their photo: where it is black, and how often."""

import numpy as np

from aird_plugin.data.photo_edges import PhotoEdges, cut_face, draw_edges

WHITE = np.full((112, 112, 3), 255, np.uint8)
NONE = PhotoEdges(30.0, np.inf, np.inf, np.inf, np.inf)


def test_no_edge_leaves_the_image():
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert np.array_equal(cut_face(face, NONE), face)


def test_each_edge_is_on_its_side():
    """40 px from the middle, between columns 55 and 56: columns 16 to 95 remain."""
    for name, black in (
        ("right", np.s_[:, 96:]),
        ("left", np.s_[:, :16]),
        ("lower", np.s_[96:]),
        ("upper", np.s_[:16]),
    ):
        expected = WHITE.copy()
        expected[black] = 0
        assert np.array_equal(cut_face(WHITE, NONE._replace(degrees=0.0, **{name: 40.0})), expected), name


def test_a_rotated_photo_is_cut_along_the_rotated_line():
    found = cut_face(WHITE, NONE._replace(degrees=30.0, right=40.0))[..., 0]
    normal = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    for x, y in np.random.default_rng(1).integers(0, 112, (300, 2)):
        distance = (np.array([x, y]) - 55.5) @ normal
        assert found[y, x] == (255 if distance < 40 else 0)


def test_draws_keep_the_eyes_and_have_an_edge():
    rng = np.random.default_rng(2)
    drawn = [draw_edges(rng) for _ in range(2000)]
    distances = np.array([edges[1:] for edges in drawn])
    present = np.isfinite(distances)
    assert present.any(1).all() and abs(present.mean() - (0.25 + 0.75 * 0.3)) < 0.02 and present.mean(0).min() > 0.44
    assert distances.min() >= 25 and distances[present].max() <= 75
    assert max(abs(edges.degrees) for edges in drawn) <= 40
    assert all(cut_face(WHITE, edges)[52, [38, 73]].all() for edges in drawn)
