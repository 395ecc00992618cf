"""The draw of identities: enough photos, at most a number of each, the same draw every time, in the order of their numbers."""

import random

import pytest

from tools.lib import celeba


@pytest.fixture
def identities(tmp_path, monkeypatch):
    """Identity n has n photos, n = 1 to 40, in shuffled lines."""
    monkeypatch.setattr(celeba, "CELEBRITIES", 10)
    lines = [f"{owner:02d}_{photo:02d}.jpg {owner}" for owner in range(1, 41) for photo in range(owner)]
    random.Random(0).shuffle(lines)
    (tmp_path / "identities.txt").write_text("\n".join(lines))
    return tmp_path / "identities.txt"


def test_drawn_identities_have_enough_photos_and_at_most_thirty_are_kept(identities):
    drawn = celeba.draw_identities(identities)
    owners = [int(photos[0][:2]) for photos in drawn]
    assert owners == sorted(set(owners)) and len(owners) == 10 and min(owners) >= 15
    for owner, photos in zip(owners, drawn, strict=True):
        assert photos == [f"{owner:02d}_{photo:02d}.jpg" for photo in range(min(owner, 30))]
    assert celeba.draw_identities(identities) == drawn


def test_too_few_identities_and_a_broken_line_are_named(identities, monkeypatch):
    monkeypatch.setattr(celeba, "CELEBRITIES", 27)
    with pytest.raises(ValueError, match="has 26 identities of 15 or more photos, not 27"):
        celeba.draw_identities(identities)
    identities.write_text("a.jpg 1\nb.jpg one\n")
    with pytest.raises(ValueError, match=r"line 2: found \['b.jpg', 'one'\], expected"):
        celeba.draw_identities(identities)
