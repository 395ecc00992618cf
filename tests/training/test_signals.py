"""A signal that arrives while work is broken off ends that work alone, whenever it arrives."""

import signal

import pytest

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
