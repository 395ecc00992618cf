"""Notes of a report: which runs, rows and comparisons its figures leave out, and why."""

from collections.abc import Iterator

from aird_plugin.models.find import skipped_images
from aird_plugin.report.data import EvalResult, file_names
from aird_plugin.report.runs import Method


def notes_on_runs(methods: list[Method]) -> list[str]:
    """Notes on unreadable training images, runs without a step, and results of other weights than the run's."""
    runs = [run for method in methods for run in method.runs]
    skipped = [
        f"{run.name} was trained without {count} unreadable images (skip_bad)."
        for run in runs
        if (count := skipped_images(run.folder))
    ]
    untrained = [
        f"{run.name} took no step: its model.pt holds the initial weights, and its accuracies are left out."
        for run in runs
        if run.untrained
    ]
    outdated = [
        f"{run.name}: {run.outdated} row(s) of its evaluation.json are of other weights than its model.pt, and are left out."
        for run in runs
        if run.outdated
    ]
    return skipped + untrained + outdated


def different_images(results: list[EvalResult]) -> Iterator[str]:
    """A note on each evaluation whose recorded rows are of different images: of another degradation, or of another file."""
    names_of_files = file_names(results)
    degradations: dict[tuple, dict[str, list[str]]] = {}
    hashes: dict[str, set[str]] = {}
    for result in results:
        row = result.row
        names = degradations.setdefault((row["pairs"], row["px"]), {}).setdefault(str(row.get("degradation", "bicubic")), [])
        names += [result.name] * (result.name not in names)
        if row.get("pairs_sha256"):
            hashes.setdefault(row["pairs"], set()).add(str(row["pairs_sha256"])[:12])
    for (pairs, px), names_of in degradations.items():
        if len(names_of) > 1:
            each = "; ".join(f"{degradation} for {', '.join(names)}" for degradation, names in names_of.items())
            name = f"{names_of_files[pairs]} at {px} px"
            yield f"{name}: accuracies on images of different degradations do not compare: {each}."
    for pairs, found in hashes.items():
        if len(found) > 1:
            yield f"{pairs} was another file for some runs ({', '.join(sorted(found))}): their accuracies do not compare."
