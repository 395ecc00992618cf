"""Numbers agree with their nouns."""

import pytest

from aird_plugin.utils.counts import counted, counted_identities


@pytest.mark.parametrize(("number", "text"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (1204, "1,204 frames")])
def test_noun_follows_the_number(number, text):
    assert counted(number, "frame") == text


def test_plural_of_another_form():
    assert counted(1, "batch", "batches") == "1 batch" and counted(3, "batch", "batches") == "3 batches"
    assert counted_identities(1) == "1 identity" and counted_identities(6) == "6 identities"
