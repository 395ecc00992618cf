"""Both spin settings are timed, alone and beside busy processes, and those processes end."""

import shutil
import subprocess
import sys

import pytest

from tools import bench_spinning

pytestmark = pytest.mark.slow


def test_every_case_is_timed_and_busy_processes_end(tiny_run, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_run["rec"], tmp_path / "data" / "faces15k")
    monkeypatch.setenv("AIRD_DATA", str(tmp_path / "data"))
    small = bench_spinning.PAIR._replace(both=["network=native16_0.05m", "batch_size=8"], over=(bench_spinning.AIRD, []))
    monkeypatch.setattr(bench_spinning, "PAIR", small)
    monkeypatch.setattr(bench_spinning, "KEYS", ["rid_negatives=8"])
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(bench_spinning.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    monkeypatch.setattr(sys, "argv", ["x", "--turns", "1", "--steps", "1", "--beside", "1"])
    assert bench_spinning.main() == 0
    out = capsys.readouterr().out
    assert "idle: bounded spinning / libgomp's default | at most 1.05" in out and "1 busy process(es) beside it" in out
    spinners = [process for process in started if process.args[-1] == bench_spinning.SPIN]
    assert len(spinners) == 2 and all(process.poll() is not None for process in spinners)
