"""Tables of many methods: the figures are the rows', the verdicts are the duels'."""

import json

import numpy as np
import pytest

from aird_plugin.evaluation.contest import accuracy_table, answers, cost_table, decisions, duel_table, duels, question_of

PEOPLE, PAIRS = 150, 900


@pytest.fixture(scope="module")
def person_2N():
    rng = np.random.default_rng(0)
    first_N = rng.integers(PEOPLE, size=PAIRS)
    second_N = np.where(np.arange(PAIRS) % 2, (first_N + rng.integers(1, PEOPLE, size=PAIRS)) % PEOPLE, first_N)
    return np.stack([first_N, second_N], axis=1).ravel()


def row(share, seed, protocol="lr-lr", px=16, pairs="/data/small.bin"):
    right_N = np.random.default_rng(seed).random(PAIRS) < share
    accuracy = 100 * right_N.mean()
    return {
        "pairs": pairs, "px": px, "protocol": protocol, "high_side": None, "n_pairs": PAIRS, "accuracy": accuracy,
        "ci95": [accuracy - 1, accuracy + 1], "right": np.packbits(right_N).tobytes().hex(),
    }  # fmt: skip


def runs(share, first_seed, count=3, **about):
    return [[row(share, first_seed + number, **about)] for number in range(count)]


def test_decisions_come_back_whatever_the_count():
    for count in (1, 7, 8, 9, 1200):
        right_N = np.random.default_rng(count).random(count) < 0.5
        kept = {"right": np.packbits(right_N).tobytes().hex(), "n_pairs": count}
        assert (decisions(kept) == right_N).all() and len(decisions(kept)) == count


def test_question_is_file_protocol_and_px():
    assert question_of(row(0.5, 0, "lr-hr", 32)) == ("small", "lr-hr", 32)


def test_accuracy_table_by_hand():
    rows = [row(0.9, seed) | {"accuracy": accuracy} for seed, accuracy in enumerate((90.0, 91.0, 92.0))]
    other = row(0.9, 9, "lr-hr", 32) | {"accuracy": 80.0}
    table = accuracy_table({"three": [[r] for r in rows], "one": [[rows[0], other]]}, "small").splitlines()
    assert table[0] == "| | LR-LR 16 | LR-HR 32 | seeds |"
    assert table[2] == "| three | 91.00 ± 1.00 | n/a | 3 |"
    (low, high), (low_32, high_32) = rows[0]["ci95"], other["ci95"]
    assert table[3] == f"| one | 90.00 ({low:.1f}-{high:.1f}) | 80.00 ({low_32:.1f}-{high_32:.1f}) | 1 |"
    assert accuracy_table({"one": [[rows[0]]]}, "another").splitlines()[0] == "| |  | seeds |"


def test_duels_find_the_better_one_and_nothing_else(person_2N):
    results = {"AIRD": runs(0.85, 0), "good": runs(0.95, 10), "twin": runs(0.85, 20), "bad": runs(0.7, 30)}
    rows = duels(results, ["AIRD", "twin"], 16, {"small": person_2N})
    beats = {(r["a"], r["b"]): r["beats"] for r in rows}
    assert beats == {
        ("good", "AIRD"): "good", ("twin", "AIRD"): None, ("bad", "AIRD"): "AIRD", ("good", "twin"): "good",
        ("bad", "twin"): "twin",
    }  # fmt: skip
    assert all(r["p_holm"] >= r["p"] for r in rows) and all(r["runs_a"] == r["runs_b"] == 3 for r in rows)
    table = duel_table(rows, "twin").splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["against twin", "---", "AIRD", "good", "bad"]
    assert "wins" in table[3] and "loses" in table[4] and "**" not in table[2]
    found = next(r for r in rows if r["a"] == "twin")
    assert f"{-found['difference']:+.2f}" in table[2]


def test_a_question_that_a_run_did_not_answer_is_no_duel(person_2N):
    results = {"AIRD": runs(0.9, 0), "half": [[row(0.9, 4)], [row(0.9, 5, px=32)]], "other": runs(0.9, 7, protocol="lr-hr")}
    assert duels(results, ["AIRD", "absent"], 16, {"small": person_2N}) == []


class Session:
    """Judges the first `right` pairs rightly, and counts how often it is asked."""

    same_N = np.arange(40) % 2 == 0

    def __init__(self, right):
        self.right, self.asked = right, []

    def setting(self, px, protocol):
        return {"pairs": "small.bin", "px": px, "protocol": protocol, "high_side": None}

    def embeddings(self, px, protocol):
        self.asked.append((px, protocol))
        close_N = self.same_N ^ (np.arange(40) >= self.right)
        first_ND = np.tile([1.0, 0.0], (40, 1))
        second_ND = np.where(close_N[:, None], [1.0, 0.0], [0.0, 1.0])
        return np.stack([first_ND, second_ND], 1).reshape(80, 2)


def test_answers_are_kept_and_nothing_is_asked_twice(tmp_path):
    file, session = tmp_path / "rows.json", Session(36)
    rows = answers(file, {"small.bin": session}, [16, 32], ("lr-lr", "lr-hr"))
    assert session.asked == [(16, "lr-lr"), (16, "lr-hr"), (32, "lr-lr"), (32, "lr-hr")]
    assert rows[0]["accuracy"] == 90 and decisions(rows[0]).tolist() == [True] * 36 + [False] * 4
    again = answers(file, {"small.bin": session}, [16, 64], ("lr-lr",))
    assert session.asked[4:] == [(64, "lr-lr")] and again[:4] == rows and json.loads(file.read_text()) == again


def test_the_same_pairs_under_another_path_are_no_second_run(tmp_path):
    class Moved(Session):
        def setting(self, px, protocol):
            return super().setting(px, protocol) | {"pairs": "elsewhere/small.bin"}

    file = tmp_path / "rows.json"
    first = answers(file, {"small.bin": Session(36)}, [16], ("lr-lr",))
    second = answers(file, {"elsewhere/small.bin": Moved(30)}, [16], ("lr-lr",))
    assert [row["pairs"] for row in second] == ["elsewhere/small.bin"] and json.loads(file.read_text()) == first + second


def test_cost_table_by_hand(tmp_path):
    for seed, (seconds, speeds) in enumerate(((60, (100, 300)), (180, (200, 900)))):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "done").write_text(json.dumps({"seconds": seconds, "peak_mb": 500 + seed}))
        lines = [json.dumps({"samples_per_s": speed}) for speed in speeds]
        (tmp_path / str(seed) / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert cost_table({"one": [tmp_path / "0", tmp_path / "1"]}).splitlines()[2] == "| one | 250 | 2.0 | 500 |"
