import threading
import time
from contextlib import closing

import pytest
import torch

from aird_plugin.data.ahead import AHEAD, ahead
from aird_plugin.data.loader import loader

CPU = torch.device("cpu")


class Source:
    """Gives a batch's number and who made it; number 5 is broken."""

    def __init__(self, resident=False):
        self.resident, self.made = resident, []

    def __getitem__(self, number):
        if number == 5:
            raise ValueError("batch 5 is broken")
        self.made.append(threading.current_thread())
        return torch.tensor(number)


def threads() -> int:
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


@pytest.mark.parametrize(("resident", "num_workers"), [(False, 0), (True, 0), (True, 2), (False, 2)])
def test_batches_come_in_order_from_any_number_on(resident, num_workers):
    source = Source(resident)
    assert [int(batch) for batch in loader(source, range(6, 14), num_workers, CPU)] == list(range(6, 14))
    main = threading.main_thread()
    assert [thread is main for thread in source.made] == ([resident] * 8 if resident or not num_workers else [])
    assert threads() == 0


def test_a_thread_goes_ahead_and_not_too_far():
    source = Source()
    with closing(loader(source, range(6, 100), 0, CPU)) as batches:
        next(batches)
        deadline = time.monotonic() + 20
        while len(source.made) < AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(source.made) == AHEAD + 1 and threads() == 1
    assert threads() == 0


def test_an_error_comes_at_its_turn_and_leaves_no_thread():
    batches = loader(Source(), range(3, 9), 0, CPU)
    assert [int(next(batches)) for _ in range(2)] == [3, 4]
    with pytest.raises(ValueError, match="batch 5 is broken"):
        next(batches)
    assert threads() == 0


def test_no_thread_is_left_where_the_loop_raises():
    with pytest.raises(KeyError), closing(loader(Source(), range(6, 50), 0, CPU)) as batches:
        for batch in batches:
            raise KeyError(int(batch))
    assert threads() == 0


def test_the_thread_begins_as_it_is_told():
    told = []
    assert list(ahead(lambda n: n + 1, range(3), lambda: told.append(threading.current_thread().name))) == [1, 2, 3]
    assert len(told) == 1 and told[0].startswith("ahead")


def test_no_numbers_no_batches():
    assert list(loader(Source(), range(0), 0, CPU)) == []
