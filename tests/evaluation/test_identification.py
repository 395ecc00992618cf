import numpy as np
import pytest

from aird_plugin.evaluation import identification
from aird_plugin.evaluation.identification import identify, search
from aird_plugin.evaluation.verification import wilson_interval


def on_circle(degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians), np.zeros(len(radians))], axis=1).astype(np.float32)


def random_set(seed=0, probes=60, gallery=90, identities=12, step=15):
    """Directions on a coarse grid, with exact ties and duplicates; several mates or none, distractors, non-mated probes."""
    rng = np.random.default_rng(seed)
    label_G = rng.integers(-2, identities, gallery)
    label_P = rng.integers(-2, identities + 4, probes)
    center = rng.integers(0, 360 // step, identities + 6)
    degrees_P = step * (center[label_P] + rng.integers(-1, 2, probes))
    degrees_G = step * (center[label_G] + rng.integers(-1, 2, gallery))
    return on_circle(degrees_P), label_P, on_circle(degrees_G), label_G


def slow_search(probes, label_P, gallery, label_G):
    """A loop over probes, mates and other entries."""
    rows = []
    for probe, label in zip(probes, label_P, strict=True):
        scores = [float(np.dot(probe.astype(float), entry.astype(float))) for entry in gallery]
        mates = sorted((s for s, entry in zip(scores, label_G, strict=True) if entry == label and label >= 0), reverse=True)
        others = [s for s, entry in zip(scores, label_G, strict=True) if entry != label or label < 0]
        before = [sum(other >= mate - 1e-6 for other in others) for mate in mates]
        precision = np.mean([(j + 1) / (j + 1 + n) for j, n in enumerate(before)]) if mates else 0
        rows.append((1 + before[0] if mates else 0, mates[0] if mates else -np.inf, max(scores), precision))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("at_once", [1 << 26, 200, 1])
@pytest.mark.parametrize("seed", range(4))
def test_search_equals_the_slow_loop(seed, at_once, monkeypatch):
    monkeypatch.setattr(identification, "SCORES_AT_ONCE", at_once)
    data = random_set(seed)
    found, slow = search(*data), slow_search(*data)
    assert found.rank_P.tolist() == slow[0].tolist()
    for fast, expected in zip(found[1:], slow[1:], strict=True):
        np.testing.assert_allclose(fast, expected, atol=1e-6)
    assert {0, 1} < set(found.rank_P.tolist()) and (found.precision_P[found.rank_P > 0] < 1).any()


def test_ties_rank_before_the_mate():
    gallery = on_circle([0, 0, 0, 40])
    figures = identify(on_circle([0]), np.array([7]), gallery, np.array([7, -1, -100, 3]))
    assert search(on_circle([0]), np.array([7]), gallery, np.array([7, -1, -100, 3])).rank_P.tolist() == [3]
    assert (figures["rank1"], figures["rank5"], figures["n_distractors"]) == (0, 100, 2)
    # A second mate with the same score is no other identity: ranks 3 and 4, precision (1/3 + 2/4) / 2.
    assert identify(on_circle([0]), [7], on_circle([0, 0, 0, 0]), [7, -1, 5, 7])["map"] == pytest.approx(100 * 5 / 12)


def test_closed_set_figures_by_hand():
    figures = identify(on_circle([10, 100, 200]), [0, 1, 9], on_circle([0, 70, 110, 300]), [0, 1, 0, -1])
    assert (figures["n_probes"], figures["n_mated"], figures["n_gallery"], figures["n_distractors"]) == (3, 2, 4, 1)
    assert (figures["rank1"], figures["rank5"], figures["rank20"]) == (50, 100, 100)
    assert figures["ci95"] == [100 * end for end in wilson_interval(1, 2)]
    # First probe: mates at 10 and 100 degrees, another identity at 60, a distractor at 70: ranks 1 and 4. Second probe: rank 2.
    assert figures["map"] == pytest.approx(100 * ((1 + 2 / 4) / 2 + 1 / 2) / 2)


def open_set(non_mated):
    """Ten mated probes at 10, 20 .. 100 degrees from their mates; non-mated ones at 10.01, 10.02 .. degrees from an entry."""
    gallery = np.eye(12)[:10]
    angle = np.deg2rad(10 * np.arange(1, 11))
    probes = np.cos(angle)[:, None] * gallery + np.sin(angle)[:, None] * np.eye(12)[10]
    nearness = np.deg2rad(10 + 0.01 * np.arange(1, non_mated + 1))
    others = np.cos(nearness)[:, None] * gallery[:1] + np.sin(nearness)[:, None] * np.eye(12)[11]
    return np.concatenate([probes, others]), [*range(10), *[-1] * non_mated], gallery, [*range(10)]


def test_open_set_figures_by_hand():
    # 300 of 1,000 non-mated probes may score above the threshold: it lies at 13.01 degrees, and one mate of ten is nearer.
    figures = identify(*open_set(1000))
    assert figures["tpir"] == {"0.3": 0.1, "0.1": 0.1, "0.01": 0.1, "0.001": None}
    # Half of 2,000 are up to 20.00 degrees away, so the threshold is 20.01 and the second mate passes; with 1,996 it does not.
    assert figures["det"]["0.5"] == 0.9 and identify(*open_set(1996))["det"]["0.5"] == 0.9
    det = dict.fromkeys(map(str, identification.DET_FPIRS), 0.9)
    assert identify(*open_set(2000))["det"] == det | {"0.5": 0.8, "0.001": None, "0.002": None}


def test_rate_needs_ten_expected_false_alarms():
    assert identify(*open_set(99))["tpir"]["0.1"] is None
    assert identify(*open_set(100))["tpir"]["0.1"] is not None
    assert set(identify(*open_set(0))["det"].values()) == {None}


def test_mate_beyond_the_rank_is_a_miss():
    non_mated = on_circle(np.full(100, 180))
    gallery = on_circle([20, *range(15)])
    figures = identify(np.concatenate([on_circle([0]), non_mated]), [0, *[-1] * 100], gallery, [0, *range(1, 16)])
    assert figures["tpir"]["0.1"] == 0 and figures["tpir20"]["0.1"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label_P": [5, 6]}, "none of the 2 probes has a mate"),
        ({"label_P": [-1, -1], "label_G": [-1, -1]}, "none of the 2 probes has a mate"),
        ({"probes_PD": on_circle([])}, r"probe: embeddings must be .* shape \(0, 3\)"),
        ({"gallery_GD": np.eye(2)}, "3 wide, the gallery's 2"),
        ({"gallery_GD": np.full((2, 3), np.nan)}, r"gallery: embedding 0 is not finite \(2 of 2 in all\)"),
        ({"probes_PD": 2 * np.eye(3)[:2]}, "length 2; L2-normalise"),
        ({"label_G": [1]}, "gallery: 2 embeddings need integer labels"),
        ({"label_P": ["a", "b"]}, "probe: 2 embeddings need integer labels"),
    ],
)
def test_invalid_inputs_are_rejected(change, message):
    sides = {"probes_PD": np.eye(3)[:2], "label_P": [0, 1], "gallery_GD": np.eye(3)[:2], "label_G": [0, 1]}
    assert identify(**sides)["rank1"] == 100
    with pytest.raises(ValueError, match=message):
        identify(**(sides | change))
