"""README's picture of a face at falling sizes: its cosines, and that both schemes show them."""

import numpy as np
import pytest
import torch

from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.embed import embed
from aird_plugin.models import build
from tools.draw_sizes_picture import FIRST, LABELS, SIDES, ZOOM, cosines, picture


def test_cosines_compare_with_the_teachers_full_size_embeddings():
    torch.manual_seed(0)
    teacher = build("native112_0.05m", 16).eval()
    rows = cosines({"teacher": teacher, "student": teacher}, identities=2)
    assert [(row["px"], row["network"]) for row in rows] == [(px, name) for px in SIDES for name in ("teacher", "student")]
    assert all(rows[n]["same"] == rows[n + 1]["same"] for n in range(0, len(rows), 2))
    same_ND = embed(teacher, np.stack([draw_person(FIRST, drawing) for drawing in (1, 2, 3)]))
    assert rows[0]["same"] == pytest.approx(float((same_ND @ embed(teacher, draw_person(FIRST, 0)[None])[0]).mean()), abs=1e-5)
    # A random network separates nothing, but 112 px of the same face are more like it than 8 px.
    assert rows[0]["same"] > rows[-1]["same"]


def test_each_size_is_shown_in_both_schemes():
    rows = [{"px": px, "network": name, "same": 0.5, "other": 0.25} for px in SIDES for name in ("teacher", "student")]
    light, dark = (np.asarray(picture(rows, scheme)).astype(int) for scheme in ("light", "dark"))
    assert light.shape == dark.shape and (light[0, 0] == 255).all() and dark[0, 0].max() < 30
    face = draw_person(FIRST, 0)
    first = light[28 : 28 + ZOOM, LABELS : LABELS + ZOOM]
    assert np.abs(first[::3, ::3] - face[::2, ::2]).max() == 0
    # At 8 px a square of the picture has one color.
    last = light[28 : 28 + ZOOM, -ZOOM - 16 : -16]
    assert (last[: ZOOM // 8, : ZOOM // 8] == last[0, 0]).all()
