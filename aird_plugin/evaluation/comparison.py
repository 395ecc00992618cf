"""Paired comparison of models on one file of pairs: a row of figures and a sentence for each two models.

N = pairs, 2N = their images, side by side.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aird_plugin.data.pairs import identities_of
from aird_plugin.evaluation.eval_spec import EvalSpec
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.significance import compare, holm, least_to_show, winner
from aird_plugin.evaluation.verification import fold_decisions
from aird_plugin.models.training_means import TrainingMeans


def compare_models(
    evaluator: PairEvaluator,
    models: dict[str, object],
    specs: list[EvalSpec],
    means: dict[str, TrainingMeans | None] | None = None,
    inspect: Callable[[PairEvaluator], None] = lambda evaluator: None,
) -> list[dict]:
    """A row for each spec and each two of `models` (name -> network), on the evaluator's pairs.

    means: name -> training means. inspect: called with the evaluator of each model once it holds the model's embeddings, which
    are dropped afterwards.

    Raises ValueError naming the model that does not support a spec.
    """
    decisions = {}
    for name, student in models.items():
        # Keeps the teacher's embeddings of the evaluator before.
        evaluator = evaluator.with_student(student, (means or {}).get(name))
        decisions[name] = [_decide(name, evaluator, spec) for spec in specs]
        inspect(evaluator)
    label_2N = identities_of(evaluator.face_2N, evaluator.same_N)
    rows = []
    for index, (a, b) in itertools.product(range(len(specs)), itertools.combinations(models, 2)):
        (setting_a, correct_a_N), (setting_b, correct_b_N) = decisions[a][index], decisions[b][index]
        names = {"a": a, "b": b, "high_side_a": setting_a["high_side"], "high_side_b": setting_b["high_side"]}
        rows.append({**setting_a, **names, **compare(correct_a_N, correct_b_N, label_2N)})
        del rows[-1]["high_side"]
    return rows


def _decide(name: str, evaluator: PairEvaluator, spec: EvalSpec) -> tuple[dict, np.ndarray]:
    """(the settings part of a row, whether each pair is classified correctly)."""
    try:
        correct_N = fold_decisions(evaluator.embeddings(spec), evaluator.same_N)
    except ValueError as error:
        raise ValueError(f"{name}: {error} ({evaluator.pairs_file})") from error
    return evaluator.setting(spec), correct_N


def add_conclusions(rows: list[dict]) -> None:
    """Add the conclusion to each row, with p corrected for the number of rows (Holm)."""
    for row, p_holm in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["tests"], row["p_holm"] = len(rows), p_holm
        row["least_to_show"] = least_to_show(row)
        better = winner(row)
        row["beats"] = better and row[better]
        row["sentence"] = sentence(row)


def sentence(row: dict) -> str:
    """The conclusion of a row in words; rows keep it, so its wording is fixed."""
    low, high = row["ci95"]
    corrected = "" if row["tests"] == 1 else f" after Holm's correction for {row['tests']} tests"
    figures = (
        f"difference {row['difference']:+.2f} points, 95% interval {low:+.2f}..{high:+.2f}, p {row['p_holm']:.2g}{corrected}"
    )
    if row["beats"] is not None:
        loser = row["b"] if row["beats"] == row["a"] else row["a"]
        return f"{row['beats']} beats {loser} ({figures})"
    undecided = f"these data cannot tell {row['a']} from {row['b']}"
    if row["a_only"] + row["b_only"] == 0:
        return f"{undecided}: they judge all {row['n_pairs']} pairs alike ({figures})"
    return f"{undecided} ({figures}); a difference of about {row['least_to_show']:.1f} points would have been seen"


def short_names(paths: list[str], taken: str | None = None) -> list[str]:
    """The shortest path suffixes that are distinct; a repeated path gets a number, and one named as `taken` its whole path."""
    parts = [Path(path).parts for path in paths]
    different = len(set(parts))
    depth = next(n for n in itertools.count(1) if len({part[-n:] for part in parts}) == different)
    names = [str(Path(*part[-depth:])) for part in parts]
    names = [str(Path(path).absolute()) if name == taken else name for path, name in zip(paths, names, strict=True)]
    return [f"{name} ({names[:n].count(name) + 1})" if name in names[:n] else name for n, name in enumerate(names)]
