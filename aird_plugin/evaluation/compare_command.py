"""`aird compare`: models -> who beats whom on the same pairs, or that the data cannot tell. Heavy imports stand inside."""

import argparse
import itertools
import json
from pathlib import Path

from aird_plugin.evaluation.asking import add_question_arguments, load_networks, pick_device, questions_of_pairs
from aird_plugin.evaluation.command import aligned

SETTINGS = ("pairs", "px", "degradation", "protocol", "facebn", "keep", "order", "centre")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird compare`."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="run folders, .onnx or bare .pt files; each two are compared")
    add_question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compare each two models on every question about every file of pairs.

    Prints accuracies and a sentence for each two, writes the JSON file. Raises ValueError or FileNotFoundError before any face
    is embedded where a question has no answer.
    """
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.files import write_atomically
    from aird_plugin.provenance import stamped

    if len(args.models) < 2:
        raise ValueError(f"a comparison needs two models or more, got {args.models[0]} alone")
    files, questions = questions_of_pairs(args)
    device, rows = pick_device(), []
    students, teacher = load_networks(args, args.models, questions, device)
    models = dict(zip(short_names(args.models), students, strict=True))
    for pairs_file in files:
        rows += compare_on(Session(None, pairs_file, teacher, args.batch, device), models, questions)
    conclude(rows)
    print(report(rows))
    if args.json:
        rows = stamped(rows, device, {"teacher": args.teacher} | dict(zip(models, args.models, strict=True)))
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def compare_on(session, models: dict, questions: list[dict]) -> list[dict]:
    """A row for each question and each two of `models` (name -> network), on one file's pairs.

    questions: keyword arguments of `Session.evaluate`. Raises ValueError naming the model that cannot answer.
    """
    from aird_plugin.data.pairs import people_of
    from aird_plugin.evaluation.significance import compare

    answers = {}
    for name, student in models.items():
        session = session.with_student(student)  # it takes over what the teacher has embedded by now
        answers[name] = [_answer(name, session, question) for question in questions]
    person_2N = people_of(session.face_2N, session.same_N)
    rows = []
    for place, (a, b) in itertools.product(range(len(questions)), itertools.combinations(models, 2)):
        (setting, right_a_N), (other, right_b_N) = answers[a][place], answers[b][place]
        who = {"a": a, "b": b, "high_side_a": setting["high_side"], "high_side_b": other["high_side"]}
        rows.append({**setting, **who, **compare(right_a_N, right_b_N, person_2N)})
        del rows[-1]["high_side"]
    return rows


def _answer(name, session, question):
    """(what was asked, was each pair judged rightly)."""
    from aird_plugin.evaluation.verification import fold_decisions

    try:
        right_N = fold_decisions(session.embeddings(**question), session.same_N)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return session.setting(**question), right_N


def conclude(rows: list[dict]) -> None:
    """Put the verdict into each row, corrected for the number of all of them: who asks more must see more."""
    from aird_plugin.evaluation.significance import holm, least_to_show, winner

    for row, p_holm in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["tests"], row["p_holm"] = len(rows), p_holm
        row["least_to_show"] = least_to_show(row)
        beats = winner(row)
        row["beats"] = beats and row[beats]
        row["sentence"] = sentence(row)


def sentence(row: dict) -> str:
    """The verdict in words."""
    low, high = row["ci95"]
    corrected = "" if row["tests"] == 1 else f" after Holm's correction for {row['tests']} tests"
    found = f"difference {row['difference']:+.2f} points, 95% interval {low:+.2f}..{high:+.2f}, p {row['p_holm']:.2g}{corrected}"
    if row["beats"] is not None:
        loser = row["b"] if row["beats"] == row["a"] else row["a"]
        return f"{row['beats']} beats {loser} ({found})"
    unknown = f"these data cannot tell {row['a']} from {row['b']}"
    if row["a_only"] + row["b_only"] == 0:
        return f"{unknown}: they judge all {row['n_pairs']} pairs alike ({found})"
    return f"{unknown} ({found}); a difference of about {row['least_to_show']:.1f} points would have been seen"


def report(rows: list[dict]) -> str:
    """For each question the models' accuracies (per cent of pairs judged rightly), and the verdicts."""
    groups = itertools.groupby(rows, lambda row: [row[key] for key in SETTINGS])
    return "\n\n".join(_block(list(group)) for _, group in groups)


def _block(rows) -> str:
    first = rows[0] | {"pairs": Path(rows[0]["pairs"]).name}
    asked = ", ".join(f"{key} {first[key]}" for key in SETTINGS if first[key] not in (None, False, "file"))
    cells = {}
    for row, side in itertools.product(rows, "ab"):
        name = row[side]
        cells[name] = [name, row[f"high_side_{side}"] or "-", f"{row[f'accuracy_{side}']:.2f}"]
    table = aligned([["model", "high side", "accuracy"], *cells.values()])
    head = f"{asked}: {first['n_pairs']} pairs of {first['n_people']} people"
    return "\n".join([head, table, *(row["sentence"] for row in rows)])


def short_names(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart; a path given again gets a number."""
    parts = [Path(path).parts for path in paths]
    different = len(set(parts))
    depth = next(n for n in itertools.count(1) if len({part[-n:] for part in parts}) == different)
    names = [str(Path(*part[-depth:])) for part in parts]
    return [f"{name} ({names[:n].count(name) + 1})" if name in names[:n] else name for n, name in enumerate(names)]
