import threading
import time
from contextlib import closing

import pytest
import torch

from aird_plugin.data.loader import AHEAD, ahead, loader

CPU = torch.device("cpu")


class Source:
    """Returns the number of a batch and records the thread; number 5 is broken."""

    def __init__(self, on_device=False):
        self.on_device, self.threads_used = on_device, []

    def __getitem__(self, number):
        if number == 5:
            raise ValueError("batch 5 is broken")
        self.threads_used.append(threading.current_thread())
        return torch.tensor(number)


def threads() -> int:
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


@pytest.mark.parametrize(("on_device", "num_workers"), [(False, 0), (True, 0), (True, 2), (False, 2)])
def test_batches_come_in_order_from_any_number(on_device, num_workers):
    source = Source(on_device)
    assert [int(batch) for batch in loader(source, range(6, 14), num_workers, CPU)] == list(range(6, 14))
    main = threading.main_thread()
    assert [thread is main for thread in source.threads_used] == ([on_device] * 8 if on_device or not num_workers else [])
    assert threads() == 0


def test_the_thread_runs_a_limited_number_of_batches_ahead():
    source = Source()
    with closing(loader(source, range(6, 100), 0, CPU)) as batches:
        next(batches)
        deadline = time.monotonic() + 20
        while len(source.threads_used) < AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(source.threads_used) == AHEAD + 1 and threads() == 1
    assert threads() == 0


def test_an_error_is_raised_at_its_turn_and_leaves_no_thread():
    batches = loader(Source(), range(3, 9), 0, CPU)
    assert [int(next(batches)) for _ in range(2)] == [3, 4]
    with pytest.raises(ValueError, match="batch 5 is broken"):
        next(batches)
    assert threads() == 0


def test_an_error_in_the_loop_leaves_no_thread():
    with pytest.raises(KeyError), closing(loader(Source(), range(6, 50), 0, CPU)) as batches:
        for batch in batches:
            raise KeyError(int(batch))
    assert threads() == 0


def test_the_thread_first_calls_begin():
    names = []
    assert list(ahead(lambda n: n + 1, range(3), lambda: names.append(threading.current_thread().name))) == [1, 2, 3]
    assert len(names) == 1 and names[0].startswith("ahead")


def test_no_numbers_give_no_batches():
    assert list(loader(Source(), range(0), 0, CPU)) == []
