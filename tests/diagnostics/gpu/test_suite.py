"""Checks run independently of one another, print one table, and say in one line where there is no GPU."""

import time
from dataclasses import replace

import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.diagnostics.gpu import suite
from aird_plugin.diagnostics.gpu.check import FAILED, OK, SKIPPED, Row, Skipped, bounded, run_check


def broken(context):
    yield Row("before", OK)
    raise ValueError("no such | thing")


def lacking(context):
    raise Skipped("pip install it")
    yield


def test_a_check_that_fails_is_a_row_and_the_others_run(monkeypatch, capsys):
    monkeypatch.setattr(suite, "run_limited", lambda name, check, context, limit_s: run_check(name, check, context))
    monkeypatch.setattr(suite, "CHECKS", {"broken": broken, "lacking": lacking, "last": lambda context: [Row("last", OK, "1")]})
    assert suite.run_checks("cpu") == 1
    out = capsys.readouterr().out
    rows = [line.split(" | ")[:3] for line in out.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        ["| before", "ok", ""],
        ["| broken", "FAILED", "no such / thing"],
        ["| lacking", "skipped", "pip install it"],
        ["| last", "ok", "1"],
    ]
    assert suite.run_checks("cpu", only=["last"]) == 0
    with pytest.raises(ValueError, match="no check nothing; there are broken, lacking, last"):
        suite.run_checks("cpu", only=["nothing"])


def test_no_check_begins_after_the_deadline(context):
    [row] = run_check("last", lambda context: [Row("last", OK)], replace(context, deadline=time.monotonic() - 1))
    assert row.status == SKIPPED and "--minutes" in row.figure


@pytest.mark.parametrize(("built", "remedy"), [(None, "install a CUDA build of torch"), ("13.0", "check the driver")])
def test_without_a_gpu_there_is_one_line_and_exit_code_2(built, remedy, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    assert main(["doctor", "--gpu"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("no GPU: ") and remedy in printed.err


def test_a_bound_is_not_met_by_nan():
    assert [bounded("", value, 1.0).status for value in (1.0, 1.1, float("nan"))] == [OK, FAILED, FAILED]
