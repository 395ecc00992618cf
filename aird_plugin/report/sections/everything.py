"""Every number, and the commands that repeat them."""

import shlex

from aird_plugin.report.html import Section, missing, paragraph, table
from aird_plugin.report.material import Answer, Material, file_name

TITLE = "Every number"
NEEDS = "No accuracies: give --pairs, or runs that have an evaluation.json."
READ = "A row for each run and question; below them the commands that give the rows again. Paths are as they were given here."
HEAD = ("Method", "Seed", "Pairs", "px", "Protocol", "High side", "Variant", "Accuracy, %", "Std of folds", "95% from", "to",
        "AUC", "TAR at 1%", "TAR at 0.1%", "n", "Impostors")  # fmt: skip


def section(material: Material) -> Section:
    """A row a seed and question."""
    if not material.answers:
        return Section("numbers", TITLE, missing(NEEDS))
    answers = sorted(material.answers, key=lambda answer: material.names.index(answer.name))
    repeats = [(answer.name, answer.seed, command) for answer, command in commands(answers)]
    rows = table(HEAD, map(_row, answers), "All results", "long")
    again = table(["Method", "Seed", "Command"], repeats, "Repeat with", "code")
    return Section("numbers", TITLE, paragraph(READ, "soft") + rows + again)


def commands(answers: list[Answer]) -> list[tuple[Answer, str]]:
    """(one of the answers, the command that gives it and its like): a command for each run, pairs file and way of asking."""
    asked: dict[tuple, dict[int, list[Answer]]] = {}
    for answer in answers:
        key = (answer.model, answer.row["pairs"], *map(str, _options(answer.row)))
        asked.setdefault(key, {}).setdefault(answer.row["px"], []).append(answer)
    alike: dict[tuple, list[list[Answer]]] = {}
    for key, sides in asked.items():
        for answers_of_side in sides.values():
            alike.setdefault((*key, *(a.row["protocol"] for a in answers_of_side)), []).append(answers_of_side)
    return [(sides[0][0], _command(sides)) for sides in alike.values()]


def _command(sides: list[list[Answer]]) -> str:
    """The answers at one px or more, to the same protocols and options."""
    first, rows = sides[0][0], [answer.row for answer in sides[0]]
    words = ["aird", "evaluate", first.model, "--pairs", first.row["pairs"], "--px", *(str(side[0].row["px"]) for side in sides)]
    words += ["--protocol", *(row["protocol"] for row in rows), *_options(first.row)]
    high_side = next((str(row["high_side"]) for row in rows if row.get("high_side")), None)
    words += ["--high-side", high_side] if high_side else []
    return shlex.join(words + (["--teacher", str(first.teacher or "TEACHER")] if high_side == "teacher" else []))


def _options(row: dict) -> list[str]:
    """What a row was asked beside pairs, px and protocol."""
    words = []
    if row.get("degradation", "bicubic") != "bicubic":
        words += ["--degradation", str(row["degradation"])]
    if row.get("facebn"):
        words += ["--facebn", str(row["facebn"]), "--keep", str(row.get("keep")), "--order", str(row.get("order", "file"))]
    return words + ["--centre"] * bool(row.get("centre"))


def _row(answer: Answer) -> list:
    row = answer.row
    tar = row["tar"] if isinstance(row.get("tar"), dict) else {}
    return [
        answer.name, answer.seed, file_name(row["pairs"]), row["px"], row["protocol"].upper(), row.get("high_side"),
        " ".join(_options(row)).replace("--", "") or None, row["accuracy"], row.get("accuracy_std"), *row["ci95"],
        *map(_share, (row.get("auc"), tar.get("0.01"), tar.get("0.001"))), row["n_pairs"], row.get("n_impostor"),
    ]  # fmt: skip


def _share(value) -> str | None:
    return f"{value:.4f}" if isinstance(value, int | float) else None
