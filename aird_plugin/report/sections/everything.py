"""Every number, with the command that repeats it."""

from aird_plugin.report.html import Section, missing, paragraph, table
from aird_plugin.report.material import Answer, Material, file_name

TITLE = "Every number"
NEEDS = "No accuracies: give --pairs, or runs that have an evaluation.json."
HEAD = ["Method", "Seed", "Pairs", "px", "Protocol", "High side", "Variant", "Accuracy, %", "Std of folds", "95% from", "to",
        "AUC", "TAR at 1%", "TAR at 0.1%", "n", "Repeat with"]  # fmt: skip


def section(material: Material) -> Section:
    """A row a seed and question."""
    if not material.answers:
        return Section("numbers", TITLE, missing(NEEDS))
    words = "A row for each run and question. The commands run where this report was made: paths are relative to that folder."
    return Section("numbers", TITLE, paragraph(words, "soft") + table(HEAD, map(_row, material.answers), "All results", "all"))


def _row(answer: Answer) -> list:
    row = answer.row
    variant = f"FaceBN {row['facebn']}, keep {row.get('keep')}" if row.get("facebn") else "centred" if row.get("centre") else None
    tar = row.get("tar") if isinstance(row.get("tar"), dict) else {}
    degraded = row.get("degradation", "bicubic")
    variant = ", ".join(part for part in (variant, None if degraded == "bicubic" else str(degraded)) if part) or None
    return [
        answer.name, answer.seed, file_name(row["pairs"]), row["px"], row["protocol"].upper(), row.get("high_side"), variant,
        row["accuracy"], row.get("accuracy_std"), *row["ci95"], row.get("auc"), tar.get("0.01"), tar.get("0.001"), row["n_pairs"],
        answer.command,
    ]  # fmt: skip
