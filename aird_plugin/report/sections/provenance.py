"""Provenance: code, versions, machine and data of every run, and the pairs files."""

from typing import Any

from aird_plugin.report.data import ReportData
from aird_plugin.report.html import Section, paragraph, table

TITLE = "Provenance"
NOTE = (
    'Recorded at the last start of each run. The commit is that of the code that ran, "changed" if a file differed from it; the '
    "tree is git's hash of the package folder. Hashes are the first twelve digits of SHA-256."
)
HEAD = ("Run", "Seed", "Commit", "Tree", "Versions", "Machine", "Started", "Starts", "Records", "Teacher")


def section(data: ReportData) -> Section:
    """One row per run, and one row per pairs file."""
    rows = [_row(run) for method in data.methods for run in method.runs]
    files = {result.row["pairs"]: result.row for result in data.results}
    pairs = [
        [data.file_names[path], _short(row, "pairs_sha256"), row["n_pairs"], row.get("n_impostor")] for path, row in files.items()
    ]
    tables = table(HEAD, rows, "Runs", "long")
    tables += table(["Pairs", "Hash", "n", "Impostors"], pairs, "Pairs files") if pairs else ""
    return Section("provenance", TITLE, paragraph(NOTE, "soft") + tables)


def _row(run) -> list:
    metadata = run.metadata
    code, machine, versions, earlier = (metadata.get(key) for key in ("code", "machine", "versions", "earlier"))
    hardware = _pairs(machine, ("cpu", "kernels", "device", "threads"))
    return [
        run.name,
        run.seed,
        commit_of(code),
        _short(code, "tree"),
        _pairs(versions, ("aird_plugin", "torch", "numpy")) or None,
        hardware or None,
        metadata.get("time"),
        1 + len(earlier) if isinstance(earlier, list) else 1,
        _records(metadata.get("records")),
        _short(metadata.get("teacher"), "sha256"),
    ]


def _records(records: Any) -> str | None:
    """The first digits of the training set's hash, and how many unreadable images were left out."""
    digest = _short(records, "sha256")
    return f"{digest}, {records['skipped']} unreadable left out" if digest and records.get("skipped") else digest


def commit_of(code: Any) -> str | None:
    """The first digits of the commit, and whether the code differs from it."""
    commit = _short(code, "commit")
    return f"{commit}, changed" if commit and code.get("dirty") else commit


def _short(values, key: str) -> str | None:
    value = values.get(key) if isinstance(values, dict) else None
    return value[:12] if isinstance(value, str) else None


def _pairs(values, keys: tuple[str, ...]) -> str:
    """The present keys as `key value` text."""
    return ", ".join(f"{key} {values[key]}" for key in keys if key in values) if isinstance(values, dict) else ""
