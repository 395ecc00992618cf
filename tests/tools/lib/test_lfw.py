"""LFW's lists, and the random draw of lfw_split."""

import hashlib
from collections import Counter

import pytest

from tools.lib.lfw import FOLDS, draw_split, in_folds, pair_of, read_list

PHOTOS_OF = {f"P{number:02d}": 1 + number % 7 for number in range(40)}


def write(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    return tmp_path / "list.txt"


@pytest.mark.parametrize("heading", ["10\t300\n", "500\n", "", "\ufeff"])
def test_list_with_and_without_heading(tmp_path, heading):
    text = heading + "A\t1\t4\r\n\nA\t1\tB C\t2\n"
    assert read_list(write(tmp_path, text), 2) == [(("A", 1), ("A", 4)), (("A", 1), ("B C", 2))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A 1 2\nA one 2\n", r"line 2: found \['A', 'one', '2'\]; allowed are `name i j`"),
        ("A 1 2\n", "has 1 pairs, LFW's list has 2"),
        ("", "has 0 pairs"),
    ],
)
def test_invalid_list_is_rejected(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_list(write(tmp_path, text), 2)


def test_list_in_another_encoding_is_rejected(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00A")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_list(tmp_path / "list.txt", 1)


def test_paths_are_not_shots():
    assert pair_of(["a/1.jpg", "b/2.jpg", "1"]) is None


def test_folds_keep_the_order_of_both_kinds():
    same = [(("A", number), ("A", number + 1)) for number in range(20)]
    different = [(("A", number), ("B", number)) for number in range(30)]
    folded = in_folds(different + same)
    assert [pair for pair in folded if pair in same] == same and [pair for pair in folded if pair in different] == different
    for fold in range(FOLDS):
        assert folded[5 * fold : 5 * fold + 5] == same[2 * fold : 2 * fold + 2] + different[3 * fold : 3 * fold + 3]


def test_rules_of_the_split():
    pairs = draw_split(PHOTOS_OF)
    same = [pair for pair in pairs if pair[0][0] == pair[1][0]]
    wanted = {name: min(14, photos * (photos - 1) // 2) for name, photos in PHOTOS_OF.items()}
    assert len(pairs) == 2 * len(same) == 2 * (sum(wanted.values()) // 10 * 10)
    counted = Counter(pair[0][0] for pair in same)
    assert sum(wanted[name] - counted[name] for name in wanted) < 10 and all(counted[name] <= wanted[name] for name in wanted)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(1 <= number <= PHOTOS_OF[name] for pair in pairs for name, number in pair)
    assert all(a < b for a, b in same)


def test_split_is_reproducible():
    text = repr(draw_split(PHOTOS_OF)).encode()
    assert hashlib.sha256(text).hexdigest() == "a94d414648eb7b750b82c45fe3ccecedf9eeda8f0e0017224aad0a9ba4e486b4"
    assert draw_split(dict(reversed(PHOTOS_OF.items()))) == draw_split(PHOTOS_OF)
