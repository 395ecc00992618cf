"""Seeded mutations of sound files against every reader; and that a fault would be seen."""

import re
import time

import numpy as np
import pytest

from tests.skips import needs
from tools import fuzz
from tools.fuzz_targets import TARGETS, Target

ROUNDS = 100


@pytest.mark.parametrize("name", TARGETS)
def test_broken_files_are_refused_in_one_line(name, tmp_path):
    tried, _ = fuzz.seeded(TARGETS[name], tmp_path, ROUNDS, seed=1, out=tmp_path / "out")
    assert tried > ROUNDS and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", TARGETS)
def test_its_seeds_are_mostly_sound(name, tmp_path):
    """Mutations of what is refused anyway would try nothing."""
    target, sound = TARGETS[name], 0
    for content in target.seeds(tmp_path):
        try:
            target.read(content, tmp_path)
            sound += 1
        except ValueError as error:
            # These two stop where a sound file of another content would go on.
            assert name in ("weights", "run", "upload", "manifest", "records"), error
    assert sound or name in ("weights", "run")


def reader(read) -> Target:
    return Target(lambda folder: [b"sound"], read)


@pytest.mark.parametrize(("read", "words"), [
    (lambda content, folder: {}[content], "KeyError"),
    (lambda content, folder: np.zeros(1 << 25, np.uint8), "MB for a file of 5 bytes"),
])  # fmt: skip
def test_a_fault_is_told_and_its_file_kept(read, words, tmp_path):
    calls = []

    def after_warming(content, folder):
        calls.append(content)
        return read(content, folder) if len(calls) > 1 else None

    with pytest.raises(fuzz.Fault, match=words):
        fuzz.seeded(reader(after_warming), tmp_path, 0, seed=1, out=tmp_path / "out")
    (kept,) = (tmp_path / "out").iterdir()
    assert kept.read_bytes() == b"sound"


def refusing_everything(content, folder):
    """As readers around a decoder do."""
    try:
        time.sleep(5)
    except Exception as error:
        raise ValueError("no readable image") from error


@pytest.mark.parametrize("read", [lambda content, folder: time.sleep(5), refusing_everything])
def test_a_hang_is_a_fault(read, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 1)
    with pytest.raises(fuzz.Fault, match="still reading after 1 s"):
        fuzz.watched(reader(read), b"", tmp_path)


def test_a_number_that_went_wrong_is_a_fault(tmp_path):
    """numpy only warns, and goes on with some other number."""
    with pytest.raises(fuzz.Fault, match="invalid value encountered in cast"):
        fuzz.watched(reader(lambda content, folder: np.array([3e38]).astype(np.int64)), b"", tmp_path)


LOG = """#2\tINITED cov: 17 ft: 18 corp: 1/37b exec/s: 0 rss: 60Mb
#9\tNEW    cov: 21 ft: 30 corp: 2/40b lim: 4 exec/s: 0 rss: 61Mb L: 3/4 MS: 1 ChangeBit-
"""


def test_figures_of_a_guided_run():
    well = fuzz.figures(LOG + "stat::number_of_executed_units: 40\nstat::peak_rss_mb:              70\n")
    assert well == "40 files, 0 crashes, 0 hangs, 0 out of memory, at most 70 MB resident, coverage 17 to 21"
    bad = fuzz.figures(LOG + "artifact_prefix='a/fault-'; Test unit written to a/fault-timeout-1f\n")
    assert "0 crashes, 1 hangs" in bad and fuzz.figures("").startswith("? files")


def test_guided_runs_see_the_packages_own_branches(tmp_path):
    needs("atheris")
    told, sound = fuzz.guided("records", 1, 1, tmp_path)
    begun, ended = map(int, re.search(r"coverage (\d+) to (\d+)", told).groups())
    assert sound and 10 < begun <= ended and (tmp_path / "records" / "corpus" / "seed0").exists()
    assert "Instrumenting aird_plugin.data.recordio" in (tmp_path / "records" / "log.txt").read_text()


def test_mutations_are_the_seeds_alone(tmp_path):
    one, other = (
        [fuzz.mutated(rng, [b"abc" * 50]) for _ in range(50)] for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert one == other and len(set(one)) > 40
