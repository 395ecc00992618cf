import argparse
import json
import sys

import pytest

from tools import soak, soak_step_time

pytestmark = pytest.mark.slow

LIMITS = argparse.Namespace(most_growth=0.5, slower=3.0)


def samples(growth: float = 0.0, files: int = 0, count: int = 400) -> list[soak.Sample]:
    """Samples of a run of 20,000 steps whose memory fluctuates by 1 MB."""

    def one(number: int, step: int) -> soak.Sample:
        grown = growth * step / 1000
        return soak.Sample(step, 300 + grown + step % 7 / 7, 200 + grown + step % 5 / 5, 20 + files * number // count, 4, step)

    return [one(number, step) for number, step in enumerate(range(50, 20_001, 20_000 // count))]


def lines(slower: float = 0.0) -> list[dict]:
    return [{"step": step, "samples_per_s": 1000 * (1 - slower * (step > 18_000))} for step in range(20, 20_001, 20)]


def test_constant_run_passes():
    figures = soak.summarise(samples(), lines(), 20_000)
    assert abs(figures["private MB per 1,000 steps"]) < 2 * figures["private, half of the 95% interval"] + 1e-3
    assert figures["last tenth against the second, per cent"] == pytest.approx(0)
    assert figures["its processor time a step against the second's, per cent"] == pytest.approx(0, abs=1e-9)
    assert soak.judge(figures, LIMITS) == 0


@pytest.mark.parametrize(
    ("given", "log", "words"),
    [
        (samples(growth=2.0), lines(), "memory grows by 2.0"),
        (samples(files=50), lines(), "files grew from 2"),
        (samples(), lines(slower=0.05), "the last tenth was slower by 5.0%"),
    ],
)
def test_growth_and_slowdown_are_reported(given, log, words, capsys):
    assert soak.judge(soak.summarise(given, log, 20_000), LIMITS) == 1
    assert f"broken: {words}" in capsys.readouterr().err


def test_slope_of_a_straight_line():
    slope, half = soak.slope_of(list(range(100)), [3 + 0.25 * x for x in range(100)])
    assert slope == pytest.approx(0.25) and half == pytest.approx(0, abs=1e-9)


def test_too_few_samples_are_rejected():
    with pytest.raises(ValueError, match="9 samples after the first tenth, 20 are needed"):
        soak.summarise(samples(count=10), lines(), 20_000)


def test_short_run_is_monitored_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "soak.py",
            str(tmp_path),
            "--steps",
            "900",
            "--slower",
            "1000",
            "--most-growth",
            "1000",
            "--json",
            str(tmp_path / "figures.json"),
        ],
    )
    monkeypatch.setattr(soak, "EVERY_S", 0.05)
    soak.main()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["steps"] == 900 and len(figures["glances"]) > 1 and figures["glances"][-1]["private"] > 50
    assert figures["glances"][-1]["cpu"] > figures["glances"][0]["cpu"] > 0


def test_two_states_are_timed_in_turns(tmp_path, monkeypatch, capsys):
    words = "--early 2 --late 4 --steps 1 --turns 2 --json".split()
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), *words, str(tmp_path / "row.json")])
    assert soak_step_time.main() == 0
    (row,) = json.loads((tmp_path / "row.json").read_text())
    assert row["what"] == "a step after 4 steps / after 2" and row["ratio"] > 0
