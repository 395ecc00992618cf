"""All results, and the commands that reproduce them."""

import json
import shlex

from aird_plugin.models.find import RUN_FILE, run_folder
from aird_plugin.report.data import TEACHER_NAME, EvalResult, ReportData
from aird_plugin.report.html import Section, missing, paragraph, table

TITLE = "All results"
NEEDS = "No accuracies: give --pairs, or runs with an evaluation.json."
NOTE = "One row per run and evaluation, followed by the commands that reproduce the rows. Paths are as given to aird report."
HEAD = (
    "Method",
    "Seed",
    "Pairs",
    "px",
    "Protocol",
    "High side",
    "Variant",
    "Accuracy, %",
    "Std of folds",
    "95% low",
    "95% high",
    "AUC",
    "TAR at 1%",
    "TAR at 0.1%",
    "n",
    "Impostors",
)


def section(data: ReportData) -> Section:
    """One row per seed and evaluation."""
    if not data.results:
        return Section("all_results", TITLE, missing(NEEDS))
    results = sorted(data.results, key=lambda result: data.names.index(result.name))
    command_rows = [(result.name, result.seed, command) for result, command in commands(results)]
    rows = table(HEAD, [_row(result, data.file_names[result.row["pairs"]]) for result in results], "All results", "long")
    command_table = table(["Method", "Seed", "Command"], command_rows, "Commands", "code")
    return Section("all_results", TITLE, paragraph(NOTE, "soft") + rows + command_table)


def commands(results: list[EvalResult]) -> list[tuple[EvalResult, str]]:
    """Commands that reproduce the results, one per run, pairs file, protocols and options; with one of its results each."""
    by_key: dict[tuple, dict[int, list[EvalResult]]] = {}
    for result in results:
        key = (result.model_path, result.row["pairs"], *map(str, _options(result.row)))
        by_key.setdefault(key, {}).setdefault(result.row["px"], []).append(result)
    groups: dict[tuple, list[list[EvalResult]]] = {}
    for key, sides in by_key.items():
        for results_of_side in sides.values():
            groups.setdefault((*key, *(result.row["protocol"] for result in results_of_side)), []).append(results_of_side)
    return [(sides[0][0], _command(sides)) for sides in groups.values()]


def _command(sides: list[list[EvalResult]]) -> str:
    """The command for results at one or more px with the same protocols and options."""
    first, rows = sides[0][0], [result.row for result in sides[0]]
    arguments = ["aird", "evaluate", first.model_path, "--pairs", first.row["pairs"]]
    arguments += ["--px", *(str(results[0].row["px"]) for results in sides)]
    arguments += ["--protocol", *(row["protocol"] for row in rows), *_options(first.row)]
    high_side = next((str(row["high_side"]) for row in rows if row.get("high_side")), None)
    arguments += ["--high-side", high_side] if high_side else []
    # `aird evaluate` takes no --input for a run.
    is_run = (run_folder(first.model_path) / RUN_FILE).is_file()
    if first.name == TEACHER_NAME and first.teacher_input and not is_run:
        arguments += ["--input", json.dumps(first.teacher_input)]
    return shlex.join(arguments + (teacher_words(first) if high_side == "teacher" else []))


def teacher_words(result: EvalResult) -> list[str]:
    """The --teacher options of a path, or of each path of an ensemble, and how they are fed and joined where it is not usual."""
    several = isinstance(result.teacher, list | tuple)
    words = [word for path in (result.teacher if several else [result.teacher or "TEACHER"]) for word in ("--teacher", str(path))]
    inputs = result.teacher_input if isinstance(result.teacher_input, list | tuple) else [result.teacher_input]
    if any(inputs):
        words += [word for one in inputs for word in ("--teacher-input", json.dumps(one or {}))]
    return words + (["--teacher-join", result.teacher_join] if several and result.teacher_join != "mean" else [])


def _options(row: dict) -> list[str]:
    """The command-line options of a row besides pairs, px and protocol."""
    arguments = []
    if row.get("degradation", "bicubic") != "bicubic":
        arguments += ["--degradation", str(row["degradation"])]
    if row.get("facebn"):
        arguments += ["--facebn", str(row["facebn"]), "--keep", str(row.get("keep")), "--order", str(row.get("order", "file"))]
    arguments += ["--include-bn1d"] * bool(row.get("include_bn1d"))
    centre = {"True": ["--centre"], "training": ["--training-centre"]}
    return arguments + centre.get(str(row.get("centre")), [])


def _row(result: EvalResult, file_name: str) -> list:
    row = result.row
    tar = row["tar"] if isinstance(row.get("tar"), dict) else {}
    return [
        result.name,
        result.seed,
        file_name,
        row["px"],
        row["protocol"].upper(),
        row.get("high_side"),
        " ".join(_options(row)).replace("--", "") or None,
        row["accuracy"],
        row.get("accuracy_std"),
        *row["ci95"],
        *map(_share, (row.get("auc"), tar.get("0.01"), tar.get("0.001"))),
        row["n_pairs"],
        row.get("n_impostor"),
    ]


def _share(value) -> str | None:
    """A share 0..1 in the table; None for anything else."""
    return f"{value:.4f}" if isinstance(value, int | float) and 0 <= value <= 1 else None
