from pathlib import Path

import pytest

from tools import cpu_settings


@pytest.fixture
def calls(monkeypatch):
    """The settings that would run; the one with two threads under SSE41 fails."""
    found = []

    def run(isa, capability, threads, more):
        found.append((isa, capability, threads, more))
        return int((isa, threads) == ("SSE41", 2)), "ok"

    monkeypatch.setattr(cpu_settings, "run_tests", run)
    return found


def test_every_setting_runs_and_a_failure_is_the_exit_status(calls):
    assert cpu_settings.main(["-x"]) == 1
    assert len({call[:3] for call in calls}) == len(calls) == 16 and all(more == ["-x"] for *_, more in calls)


def test_short_is_one_setting_without_tests_that_start_processes(calls):
    assert cpu_settings.main(["--short", "-x"]) == 0
    assert calls == [("SSE41", "avx2", 1, [*cpu_settings.SHORT_TESTS, "-x"])]


def test_paths_of_the_numeric_tests_exist():
    paths = cpu_settings.paths()
    assert all(Path(path).exists() for path in paths) and len(paths) == len(set(paths)) > len(cpu_settings.FILES)
