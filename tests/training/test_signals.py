"""A signal that arrives while work is broken off ends that work alone, whenever it arrives."""

import signal
from types import SimpleNamespace

import pytest

from aird_plugin.training import loop, validation
from aird_plugin.training.signals import StopSignals


class SignalWhere(StopSignals):
    """A signal arrives right before (`value` False) or after (True) `breaking` is set to `value`."""

    value = True

    def __setattr__(self, name, value):
        arrives = name == "breaking" and value is self.value and hasattr(self, "breaking")
        if arrives and not value:
            self.note(signal.SIGTERM, None)
        super().__setattr__(name, value)
        if arrives and value:
            self.note(signal.SIGTERM, None)


@pytest.mark.parametrize("value", [True, False])
def test_signal_at_either_end_of_the_work_leaves_the_flag_set(value):
    stopped = SignalWhere()
    stopped.value = value
    done: list[str] = []
    stopped.run_until_stopped(lambda: done.append("work"))
    assert done == ([] if value else ["work"])
    assert stopped


def test_no_work_is_begun_after_a_signal():
    """A signal between two looks at the flag was followed by a whole validation."""
    stopped, done = StopSignals(), []
    stopped.note(signal.SIGTERM, None)
    stopped.run_until_stopped(lambda: done.append("work"))
    assert not done


@pytest.mark.parametrize("place", ["before the evaluation", "in the wait"])
def test_a_signal_around_the_validation_leaves_no_rank_waiting(place, monkeypatch):
    """Rank 0 sends to each of the others when its validation ends; without that they wait for days."""
    stopped, sent = StopSignals(), []

    def eval_specs(setup) -> list:
        if place == "before the evaluation":
            stopped.note(signal.SIGTERM, None)
        return []

    def wait_for_rank0() -> None:
        if place == "in the wait":
            stopped.note(signal.SIGTERM, None)
        sent.append("to all")

    for module in (loop, validation):
        monkeypatch.setattr(module, "eval_specs", eval_specs, raising=False)
    monkeypatch.setattr(validation.distributed, "wait_for_rank0", wait_for_rank0)
    state = SimpleNamespace(setup=SimpleNamespace(evaluators={}))
    loop.evaluate_and_log(state, SimpleNamespace(verification=lambda *arguments: None), stopped, 1)
    assert sent == ["to all"] and stopped
