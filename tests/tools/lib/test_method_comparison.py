"""Tables of many methods: figures from the rows, verdicts from `pairwise_tests`."""

import json

import numpy as np
import pytest

from tools.lib.method_comparison import (
    accuracy_table,
    cost_table,
    decisions,
    pairwise_table,
    pairwise_tests,
    read_or_evaluate,
    spec_of,
)

IDENTITIES, PAIRS = 150, 900


@pytest.fixture(scope="module")
def label_2N():
    rng = np.random.default_rng(0)
    first_N = rng.integers(IDENTITIES, size=PAIRS)
    second_N = np.where(np.arange(PAIRS) % 2, (first_N + rng.integers(1, IDENTITIES, size=PAIRS)) % IDENTITIES, first_N)
    return np.stack([first_N, second_N], axis=1).ravel()


def row(share, seed, protocol="lr-lr", px=16, pairs="/data/small.bin"):
    right_N = np.random.default_rng(seed).random(PAIRS) < share
    accuracy = 100 * right_N.mean()
    return {
        "pairs": pairs,
        "px": px,
        "protocol": protocol,
        "high_side": None,
        "n_pairs": PAIRS,
        "accuracy": accuracy,
        "ci95": [accuracy - 1, accuracy + 1],
        "right": np.packbits(right_N).tobytes().hex(),
    }


def runs(share, first_seed, count=3, **about):
    return [[row(share, first_seed + number, **about)] for number in range(count)]


def test_decisions_round_trip_for_any_count():
    for count in (1, 7, 8, 9, 1200):
        right_N = np.random.default_rng(count).random(count) < 0.5
        kept = {"right": np.packbits(right_N).tobytes().hex(), "n_pairs": count}
        assert (decisions(kept) == right_N).all() and len(decisions(kept)) == count


def test_spec_is_file_protocol_and_px():
    assert spec_of(row(0.5, 0, "lr-hr", 32)) == ("small", "lr-hr", 32)


def test_accuracy_table_by_hand():
    rows = [row(0.9, seed) | {"accuracy": accuracy} for seed, accuracy in enumerate((90.0, 91.0, 92.0))]
    other = row(0.9, 9, "lr-hr", 32) | {"accuracy": 80.0}
    table = accuracy_table({"three": [[r] for r in rows], "one": [[rows[0], other]]}, "small").splitlines()
    assert table[0] == "| | LR-LR 16 | LR-HR 32 | seeds |"
    assert table[2] == "| three | 91.00 ± 1.00 | n/a | 3 |"
    (low, high), (low_32, high_32) = rows[0]["ci95"], other["ci95"]
    assert table[3] == f"| one | 90.00 ({low:.1f}-{high:.1f}) | 80.00 ({low_32:.1f}-{high_32:.1f}) | 1 |"
    assert accuracy_table({"one": [[rows[0]]]}, "another").splitlines()[0] == "| |  | seeds |"


def test_pairwise_tests_find_only_real_differences(label_2N):
    results = {"AIRD": runs(0.85, 0), "good": runs(0.95, 10), "twin": runs(0.85, 20), "bad": runs(0.7, 30)}
    rows = pairwise_tests(results, ["AIRD", "twin"], 16, {"small": label_2N})
    beats = {(r["a"], r["b"]): r["beats"] for r in rows}
    assert beats == {
        ("good", "AIRD"): "good",
        ("twin", "AIRD"): None,
        ("bad", "AIRD"): "AIRD",
        ("good", "twin"): "good",
        ("bad", "twin"): "twin",
    }
    assert all(r["p_holm"] >= r["p"] for r in rows) and all(r["runs_a"] == r["runs_b"] == 3 for r in rows)
    table = pairwise_table(rows, "twin").splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["against twin", "---", "AIRD", "good", "bad"]
    assert "wins" in table[3] and "loses" in table[4] and "**" not in table[2]
    found = next(r for r in rows if r["a"] == "twin")
    assert f"{-found['difference']:+.2f}" in table[2]


def test_methods_with_a_reference_of_their_own_are_tested_against_it_alone(label_2N):
    results = {"AIRD": runs(0.85, 0), "cell": runs(0.95, 10), "base": runs(0.7, 30)}
    rows = pairwise_tests(results, ["AIRD"], 16, {"small": label_2N}, {"cell": "base", "absent": "base"})
    assert [(r["a"], r["b"], r["beats"]) for r in rows] == [("base", "AIRD", "AIRD"), ("cell", "base", "cell")]


def test_specs_missing_from_a_run_are_not_tested(label_2N):
    results = {"AIRD": runs(0.9, 0), "half": [[row(0.9, 4)], [row(0.9, 5, px=32)]], "other": runs(0.9, 7, protocol="lr-hr")}
    assert pairwise_tests(results, ["AIRD", "absent"], 16, {"small": label_2N}) == []


class PairEvaluator:
    """Classifies the first `right` pairs correctly and records its calls."""

    same_N, sha256 = np.arange(40) % 2 == 0, "aa"

    def __init__(self, right):
        self.right, self.calls = right, []

    def setting(self, px, protocol, centre=False):
        return {
            "pairs": "small.bin",
            "pairs_sha256": self.sha256,
            "px": px,
            "protocol": protocol,
            "high_side": None,
            "centre": centre,
        }

    def embeddings(self, px, protocol, centre=False):
        self.calls.append((px, protocol))
        close_N = self.same_N ^ (np.arange(40) >= self.right)
        first_ND = np.tile([1.0, 0.0], (40, 1))
        second_ND = np.where(close_N[:, None], [1.0, 0.0], [0.0, 1.0])
        return np.stack([first_ND, second_ND], 1).reshape(80, 2)


def test_rows_are_reused(tmp_path):
    file, evaluator = tmp_path / "rows.json", PairEvaluator(36)
    rows = read_or_evaluate(file, {"small.bin": evaluator}, [16, 32], ("lr-lr", "lr-hr"))
    assert evaluator.calls == [(16, "lr-lr"), (16, "lr-hr"), (32, "lr-lr"), (32, "lr-hr")]
    assert rows[0]["accuracy"] == 90 and decisions(rows[0]).tolist() == [True] * 36 + [False] * 4
    again = read_or_evaluate(file, {"small.bin": evaluator}, [16, 64], ("lr-lr",))
    assert evaluator.calls[4:] == [(64, "lr-lr")] and again[0] == rows[0] and json.loads(file.read_text()) == [*rows, again[1]]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_row_of_other_weights_is_not_reused(tmp_path, role):
    """A run that was trained again in its folder kept the former rows."""
    file, models = tmp_path / "rows.json", {"student": "s", "teacher": "t"}
    place = (file, {"small.bin": PairEvaluator(36)}, [16], ("lr-lr",))
    [before] = read_or_evaluate(*place)
    assert before == read_or_evaluate(*place, models=models)[0], "a row of an older version"
    file.unlink()
    assert read_or_evaluate(*place, models=models) == read_or_evaluate(
        file, {"small.bin": PairEvaluator(30)}, *place[2:], models=models
    )
    [after] = read_or_evaluate(file, {"small.bin": PairEvaluator(30)}, *place[2:], models=models | {role: "other"})
    assert after["accuracy"] == 75 and json.loads(file.read_text()) == [after]


@pytest.mark.parametrize("change", ["pairs_sha256", "protocol", "centre"])
def test_a_row_of_another_setting_is_not_reused(tmp_path, change):
    file, evaluator, centre = tmp_path / "rows.json", PairEvaluator(36), False
    read_or_evaluate(file, {"small.bin": evaluator}, [16], ("lr-lr",))
    evaluator = PairEvaluator(30)
    if change == "pairs_sha256":
        evaluator.sha256 = "bb"
    if change == "centre":
        centre = True
    protocol = "lr-hr" if change == "protocol" else "lr-lr"
    rows = read_or_evaluate(file, {"small.bin": evaluator}, [16], (protocol,), centre)
    assert evaluator.calls == [(16, protocol)] and [row["accuracy"] for row in rows] == [75]
    assert len(json.loads(file.read_text())) == (2 if change == "protocol" else 1)


def test_same_pairs_under_another_path_are_not_a_second_run(tmp_path):
    class Moved(PairEvaluator):
        def setting(self, px, protocol, centre=False):
            return super().setting(px, protocol, centre) | {"pairs": "elsewhere/small.bin"}

    file = tmp_path / "rows.json"
    first = read_or_evaluate(file, {"small.bin": PairEvaluator(36)}, [16], ("lr-lr",))
    second = read_or_evaluate(file, {"elsewhere/small.bin": Moved(30)}, [16], ("lr-lr",))
    assert [row["pairs"] for row in second] == ["elsewhere/small.bin"] and json.loads(file.read_text()) == first + second


def test_cost_table_by_hand(tmp_path):
    for seed, (seconds, speeds) in enumerate(((60, (100, 300)), (180, (200, 900)))):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "done").write_text(json.dumps({"seconds": seconds, "peak_mb": 500 + seed}))
        lines = [json.dumps({"samples_per_s": speed}) for speed in speeds]
        (tmp_path / str(seed) / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert cost_table({"one": [tmp_path / "0", tmp_path / "1"]}).splitlines()[2] == "| one | 250 | 2.0 | 500 |"
