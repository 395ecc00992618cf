"""Pairs in ten folds: no identity in two folds, half genuine."""

import pytest

from tools.lib.pair_sampling import synthetic_pairs


def test_rules_of_synthetic_pairs():
    pairs = synthetic_pairs(identities=25, first_identity=100, count=400, seed=3)
    assert len(pairs) == len(set(pairs)) == 400
    folds = [pairs[start : start + 40] for start in range(0, 400, 40)]
    groups = [{shot[0] for *both, _ in fold for shot in both} for fold in folds]
    assert set().union(*groups) == set(range(100, 125)) and sum(map(len, groups)) == 25
    for fold in folds:
        assert sum(same for *_, same in fold) == 20
    for (identity_a, image_a), (identity_b, image_b), same in pairs:
        assert (identity_a == identity_b) is same and (identity_a, image_a) != (identity_b, image_b)
    assert pairs == synthetic_pairs(25, 100, 400, 3) != synthetic_pairs(25, 100, 400, 4)


@pytest.mark.parametrize("identities, count", [(19, 20), (20, 30), (20, 0)])
def test_impossible_synthetic_pairs_are_rejected(identities, count):
    with pytest.raises(ValueError, match=f"got {identities} identities, {count} pairs"):
        synthetic_pairs(identities, 0, count, 0)
