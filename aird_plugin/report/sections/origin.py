"""Where the figures come from: code, versions, machine and data of every run, and the files of pairs."""

from aird_plugin.report.html import Section, paragraph, table
from aird_plugin.report.material import Material, file_name

TITLE = "Where it comes from"
READ = (
    "What each run tells of its last start. A commit is that of the code that ran, changed where a file of it was another; the "
    "tree is git's own hash of the package's folder. Hashes are the first twelve digits of SHA-256."
)
HEAD = ("Run", "Seed", "Commit", "Tree", "Versions", "Machine", "Started", "Starts", "Faces", "Teacher")


def section(material: Material) -> Section:
    """A row a run, and a row a file of pairs."""
    rows = [_row(run) for method in material.methods for run in method.runs]
    files = {answer.row["pairs"]: answer.row for answer in material.answers}
    pairs = [[file_name(path), _short(row, "pairs_sha256"), row["n_pairs"], row.get("n_impostor")] for path, row in files.items()]
    tables = table(HEAD, rows, "Runs", "long")
    tables += table(["Pairs", "Hash", "n", "Impostors"], pairs, "Files of pairs") if pairs else ""
    return Section("origin", TITLE, paragraph(READ, "soft") + tables)


def _row(run) -> list:
    facts = run.facts
    code, machine, versions, earlier = (facts.get(key) for key in ("code", "machine", "versions", "earlier"))
    told = _pairs(machine, ("cpu", "kernels", "device", "threads"))
    return [
        run.name, run.seed, commit_of(code), _short(code, "tree"), _pairs(versions, ("aird_plugin", "torch", "numpy")) or None,
        told or None, facts.get("time"), 1 + len(earlier) if isinstance(earlier, list) else 1,
        _short(facts.get("records"), "sha256"), _short(facts.get("teacher"), "sha256"),
    ]  # fmt: skip


def commit_of(code) -> str | None:
    """The commit's first digits, and whether the code differs from it."""
    commit = _short(code, "commit")
    return f"{commit}, changed" if commit and code.get("dirty") else commit


def _short(told, key: str) -> str | None:
    value = told.get(key) if isinstance(told, dict) else None
    return value[:12] if isinstance(value, str) else None


def _pairs(told, keys: tuple[str, ...]) -> str:
    return ", ".join(f"{key} {told[key]}" for key in keys if key in told) if isinstance(told, dict) else ""
