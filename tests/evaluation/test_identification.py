import numpy as np
import pytest

from aird_plugin.evaluation import identification
from aird_plugin.evaluation.identification import identify, search
from aird_plugin.evaluation.verification import wilson_interval


def on_circle(degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians), np.zeros(len(radians))], axis=1).astype(np.float32)


def crowd(seed=0, probes=60, gallery=90, people=12, step=15):
    """Directions on a coarse grid, hence exact ties and duplicates; several mates, none, distractors and strangers."""
    rng = np.random.default_rng(seed)
    who_G = rng.integers(-2, people, gallery)
    who_P = rng.integers(-2, people + 4, probes)
    home = rng.integers(0, 360 // step, people + 6)
    degrees_P = step * (home[who_P] + rng.integers(-1, 2, probes))
    degrees_G = step * (home[who_G] + rng.integers(-1, 2, gallery))
    return on_circle(degrees_P), who_P, on_circle(degrees_G), who_G


def slow_search(probes, who_P, gallery, who_G):
    """One probe, one mate, one other at a time."""
    rows = []
    for probe, person in zip(probes, who_P, strict=True):
        scores = [float(np.dot(probe.astype(float), entry.astype(float))) for entry in gallery]
        mates = sorted((s for s, who in zip(scores, who_G, strict=True) if who == person and person >= 0), reverse=True)
        others = [s for s, who in zip(scores, who_G, strict=True) if who != person or person < 0]
        before = [sum(other >= mate - 1e-6 for other in others) for mate in mates]
        precision = np.mean([(j + 1) / (j + 1 + n) for j, n in enumerate(before)]) if mates else 0
        rows.append((1 + before[0] if mates else 0, mates[0] if mates else -np.inf, max(scores), precision))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("at_once", [1 << 26, 200, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_search_equals_the_slow_one(seed, at_once, monkeypatch):
    monkeypatch.setattr(identification, "SCORES_AT_ONCE", at_once)
    data = crowd(seed)
    found, slow = search(*data), slow_search(*data)
    assert found.rank_P.tolist() == slow[0].tolist()
    for fast, expected in zip(found[1:], slow[1:], strict=True):
        np.testing.assert_allclose(fast, expected, atol=1e-6)
    assert {0, 1} < set(found.rank_P.tolist()) and (found.precision_P[found.rank_P > 0] < 1).any()


def test_what_ties_with_the_mate_stands_before_it():
    gallery = on_circle([0, 0, 0, 40])
    figures = identify(on_circle([0]), np.array([7]), gallery, np.array([7, -1, -100, 3]))
    assert search(on_circle([0]), np.array([7]), gallery, np.array([7, -1, -100, 3])).rank_P.tolist() == [3]
    assert (figures["rank1"], figures["rank5"], figures["n_distractors"]) == (0, 100, 2)
    # A second mate on the same spot is no rival: places 3 and 4, precision (1/3 + 2/4) / 2.
    assert identify(on_circle([0]), [7], on_circle([0, 0, 0, 0]), [7, -1, 5, 7])["map"] == pytest.approx(100 * 5 / 12)


def test_the_figures_of_a_search_by_hand():
    figures = identify(on_circle([10, 100, 200]), [0, 1, 9], on_circle([0, 70, 110, 300]), [0, 1, 0, -1])
    assert (figures["n_probes"], figures["n_mated"], figures["n_gallery"], figures["n_distractors"]) == (3, 2, 4, 1)
    assert (figures["rank1"], figures["rank5"], figures["rank20"]) == (50, 100, 100)
    assert figures["ci95"] == [100 * end for end in wilson_interval(1, 2)]
    # First probe: mates at 10 and 100 degrees, somebody else at 60 and 70: places 1 and 4. Second: place 2.
    assert figures["map"] == pytest.approx(100 * ((1 + 2 / 4) / 2 + 1 / 2) / 2)


def open_set(strangers):
    """Ten people found at 10, 20 .. 100 degrees from themselves; strangers 1, 2, 3 .. hundredths of a degree from somebody."""
    gallery = np.eye(12)[:10]
    angle = np.deg2rad(10 * np.arange(1, 11))
    probes = np.cos(angle)[:, None] * gallery + np.sin(angle)[:, None] * np.eye(12)[10]
    nearness = np.deg2rad(10 + 0.01 * np.arange(1, strangers + 1))
    others = np.cos(nearness)[:, None] * gallery[:1] + np.sin(nearness)[:, None] * np.eye(12)[11]
    return np.concatenate([probes, others]), [*range(10), *[-1] * strangers], gallery, [*range(10)]


def test_the_open_set_by_hand():
    # Of 1,000 strangers 300 may score above the threshold: it lies at 13.01 degrees, and one mate of ten is nearer.
    figures = identify(*open_set(1000))
    assert figures["tpir"] == {"0.3": 0.1, "0.1": 0.1, "0.01": 0.1, "0.001": None}
    # Half of 2,000 lie up to 20.00 degrees away, so the threshold lies at 20.01 and the second mate passes; of 1,996 it does not.
    assert figures["det"]["0.5"] == 0.9 and identify(*open_set(1996))["det"]["0.5"] == 0.9
    det = dict.fromkeys(map(str, identification.DET_FPIRS), 0.9)
    assert identify(*open_set(2000))["det"] == det | {"0.5": 0.8, "0.001": None, "0.002": None}


def test_a_rate_needs_ten_false_alarms():
    assert identify(*open_set(99))["tpir"]["0.1"] is None
    assert identify(*open_set(100))["tpir"]["0.1"] is not None
    assert set(identify(*open_set(0))["det"].values()) == {None}


def test_a_mate_beyond_the_rank_is_not_found():
    strangers = on_circle(np.full(100, 180))
    gallery = on_circle([20, *range(15)])
    figures = identify(np.concatenate([on_circle([0]), strangers]), [0, *[-1] * 100], gallery, [0, *range(1, 16)])
    assert figures["tpir"]["0.1"] == 0 and figures["tpir20"]["0.1"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"who_P": [5, 6]}, "none of the 2 probes has a mate"),
        ({"who_P": [-1, -1], "who_G": [-1, -1]}, "none of the 2 probes has a mate"),
        ({"probes_PD": on_circle([])}, r"probe: embeddings are .* shape \(0, 3\)"),
        ({"gallery_GD": np.eye(2)}, "3 wide, the gallery's 2"),
        ({"gallery_GD": np.full((2, 3), np.nan)}, "gallery: embedding 0 has length nan"),
        ({"probes_PD": 2 * np.eye(3)[:2]}, "length 2; L2-normalise"),
        ({"who_G": [1]}, "gallery: 2 embeddings need a whole number each"),
        ({"who_P": ["a", "b"]}, "probe: 2 embeddings need a whole number each"),
    ],
)
def test_what_cannot_be_searched_is_refused(change, message):
    sides = {"probes_PD": np.eye(3)[:2], "who_P": [0, 1], "gallery_GD": np.eye(3)[:2], "who_G": [0, 1]}
    assert identify(**sides)["rank1"] == 100
    with pytest.raises(ValueError, match=message):
        identify(**(sides | change))
