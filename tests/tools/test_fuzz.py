"""Seeded mutations of valid files against every reader, and the detection of faults."""

import re
import time

import numpy as np
import pytest

from tests.skips import needs
from tools import fuzz
from tools.lib.fuzz_targets import TARGETS, Target

ROUNDS = 100


@pytest.mark.parametrize("name", TARGETS)
def test_broken_files_are_rejected(name, tmp_path):
    tried, _ = fuzz.seeded(TARGETS[name], tmp_path, ROUNDS, seed=1, out=tmp_path / "out")
    assert tried > ROUNDS and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_mostly_valid(name, tmp_path):
    """Mutations of files that are always rejected would test nothing."""
    target, valid = TARGETS[name], 0
    for content in target.seeds(tmp_path):
        try:
            target.read(content, tmp_path)
            valid += 1
        except ValueError as error:
            # These readers need content that a tiny seed does not have.
            assert name in ("weights", "run", "upload", "manifest", "records"), error
    assert valid or name in ("weights", "run")


def reader(read) -> Target:
    return Target(lambda folder: [b"valid"], read)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda content, folder: {}[content], "KeyError"),
        (lambda content, folder: np.zeros(1 << 25, np.uint8), "MB for a file of 5 bytes"),
    ],
)
def test_fault_is_reported_and_its_file_kept(read, words, tmp_path):
    calls = []

    def after_warming(content, folder):
        calls.append(content)
        return read(content, folder) if len(calls) > 1 else None

    with pytest.raises(fuzz.Fault, match=words):
        fuzz.seeded(reader(after_warming), tmp_path, 0, seed=1, out=tmp_path / "out")
    (kept,) = (tmp_path / "out").iterdir()
    assert kept.read_bytes() == b"valid"


def converts_every_exception(content, folder):
    """Like a reader around a decoder."""
    try:
        time.sleep(5)
    except Exception as error:
        raise ValueError("no readable image") from error


@pytest.mark.parametrize("read", [lambda content, folder: time.sleep(5), converts_every_exception])
def test_hang_is_a_fault(read, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 1)
    with pytest.raises(fuzz.Fault, match="still reading after 1 s"):
        fuzz.read_limited(reader(read), b"", tmp_path)


def test_invalid_cast_is_a_fault(tmp_path):
    """numpy only warns and continues with another number."""
    with pytest.raises(fuzz.Fault, match="invalid value encountered in cast"):
        fuzz.read_limited(reader(lambda content, folder: np.array([3e38]).astype(np.int64)), b"", tmp_path)


LOG = """#2\tINITED cov: 17 ft: 18 corp: 1/37b exec/s: 0 rss: 60Mb
#9\tNEW    cov: 21 ft: 30 corp: 2/40b lim: 4 exec/s: 0 rss: 61Mb L: 3/4 MS: 1 ChangeBit-
"""


def test_figures_of_a_guided_run():
    clean = fuzz.figures(LOG + "stat::number_of_executed_units: 40\nstat::peak_rss_mb:              70\n")
    assert clean == "40 files, 0 crashes, 0 hangs, 0 out of memory, at most 70 MB resident, coverage 17 to 21"
    hung = fuzz.figures(LOG + "artifact_prefix='a/fault-'; Test unit written to a/fault-timeout-1f\n")
    assert "0 crashes, 1 hangs" in hung and fuzz.figures("").startswith("? files")


def test_guided_run_instruments_the_package(tmp_path):
    needs("atheris")
    line, clean = fuzz.guided("records", 1, 1, tmp_path)
    begun, ended = map(int, re.search(r"coverage (\d+) to (\d+)", line).groups())
    assert clean and 10 < begun <= ended and (tmp_path / "records" / "corpus" / "seed0").exists()
    assert "Instrumenting aird_plugin.data.recordio.reader" in (tmp_path / "records" / "log.txt").read_text()


def test_mutations_depend_on_the_seed_only(tmp_path):
    one, other = (
        [fuzz.mutated(rng, [b"abc" * 50]) for _ in range(50)] for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert one == other and len(set(one)) > 40
