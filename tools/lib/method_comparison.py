"""Many methods, several seeds each, the same evaluation specs: tables of accuracy and of significant differences.

N = pairs of a file, S = seeds.
"""

import itertools
import json
import statistics
from pathlib import Path

import numpy as np

from aird_plugin.data.pairs import identities_of
from aird_plugin.evaluation.significance import compare_methods, holm, winner
from aird_plugin.evaluation.verification import fold_decisions, verify
from aird_plugin.utils.files import write_atomically

KEPT = ("pairs", "pairs_sha256", "px", "protocol", "high_side", "centre", "n_pairs", "accuracy", "ci95")


def evaluate_once(evaluator, px: int, protocol: str, centre: bool | str = False) -> dict:
    """The row of one spec: the accuracy, and in "right", in hexadecimal, which of the N pairs are correct.

    Raises what `PairEvaluator.evaluate` raises.
    """
    embeddings_2ND = evaluator.embeddings(px, protocol, centre=centre)
    row = evaluator.setting(px, protocol, centre=centre) | verify(embeddings_2ND, evaluator.same_N)
    right_N = fold_decisions(embeddings_2ND, evaluator.same_N)
    return {key: row[key] for key in KEPT} | {"right": np.packbits(right_N).tobytes().hex()}


def read_or_evaluate(
    file: Path,
    evaluators: dict[str, object],
    px: list[int],
    protocols: tuple[str, ...],
    centre: bool | str = False,
    models: dict[str, str] | None = None,
) -> list[dict]:
    """`evaluate_once` on each pairs file, for each px and protocol; rows in `file` are reused and new ones added to it.

    A row is reused if its setting is the same, the hashes of its pairs file and of `models` (role -> hash of the weight file)
    included; otherwise the new row replaces it. A row of an older version has no hashes of models.
    Returns the rows of these evaluators and protocols only: the same pairs under another path would count as a second run.
    """
    kept = {_place(row): row for row in (json.loads(file.read_text()) if file.exists() else [])}
    places = []
    for evaluator in evaluators.values():
        for side, protocol in itertools.product(px, protocols):
            setting = evaluator.setting(side, protocol, centre=centre)
            place = _place(setting)
            places.append(place)
            known = kept.get(place, {})
            if any(known.get(key) != setting[key] for key in KEPT if key in setting) or known.get("models", models) != models:
                kept[place] = evaluate_once(evaluator, side, protocol, centre) | ({"models": models} if models else {})
                write_atomically(file, json.dumps(list(kept.values())).encode())
    return [kept[place] for place in places]


def _place(row: dict) -> tuple:
    """What a file of rows holds once: pairs file, px, protocol."""
    return row["pairs"], row["px"], row["protocol"]


def flat_rows(results: dict[str, list[list[dict]]], labels: dict[str, list[dict]]) -> list[dict]:
    """A row for each method, run and spec: the method, what `labels` says of the run, and the figures without the decisions."""
    return [
        {"method": name} | label | {key: value for key, value in row.items() if key != "right"}
        for name, runs in results.items()
        for rows, label in zip(runs, labels.get(name, [{}] * len(runs)), strict=True)
        for row in rows
    ]


def decisions(row: dict) -> np.ndarray:
    """Which pairs of a row were classified correctly, bool (N,)."""
    packed = np.frombuffer(bytes.fromhex(row["right"]), np.uint8)
    return np.unpackbits(packed, count=row["n_pairs"]).astype(bool)


def spec_of(row: dict) -> tuple:
    """The evaluation spec of a row: stem of the pairs file, protocol, px."""
    return Path(row["pairs"]).stem, row["protocol"], row["px"]


def accuracy_table(results: dict[str, list[list[dict]]], pairs: str) -> str:
    """Markdown: a line for each method (name -> the rows of each of its seeds) on one file, given by its stem; per cent.

    Mean over seeds and their standard deviation; for one seed the 95% interval over pairs.
    """
    found = {spec_of(row) for runs in results.values() for rows in runs for row in rows}
    specs = sorted((spec for spec in found if spec[0] == pairs), key=lambda spec: (spec[1] != "lr-lr", spec[2]))
    lines = ["| | " + " | ".join(f"{protocol.upper()} {px}" for _, protocol, px in specs) + " | seeds |"]
    lines.append("|---" * (len(specs) + 2) + "|")
    for name, runs in results.items():
        cells = [_figure([row for rows in runs for row in rows if spec_of(row) == spec]) for spec in specs]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(runs)} |")
    return "\n".join(lines)


def _figure(rows: list[dict]) -> str:
    """Mean and standard deviation over seeds; of one run, its accuracy and interval."""
    values = [row["accuracy"] for row in rows]
    if not values:
        return "n/a"
    if len(values) > 1:
        return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
    low, high = rows[0]["ci95"]
    return f"{values[0]:.2f} ({low:.1f}-{high:.1f})"


def pairwise_tests(
    results: dict[str, list[list[dict]]],
    references: list[str],
    px: int,
    label_of: dict[str, np.ndarray],
    against: dict[str, str] | None = None,
) -> list[dict]:
    """Every method against each of `references`, on every file and protocol at `px`: `compare_methods`, p corrected by Holm.

    against: methods that are tested against one other each, and not against the references.

    label_of: identities of the images of a pairs file (its stem -> int (2N,)). "beats": the name of the better method, None if
    the difference is not significant: the corrected p is 0.05 or more, or the interval contains 0.
    """
    rows, pairs_done = [], set()
    against = against or {}
    couples = [(name, reference) for reference in references for name in results if name not in against]
    couples += [(name, reference) for name, reference in against.items() if name in results]
    for name, reference in couples:
        if name == reference or reference not in results or frozenset((name, reference)) in pairs_done:
            continue
        pairs_done.add(frozenset((name, reference)))
        mine, theirs = (_decisions_by_spec(results[method], px) for method in (name, reference))
        for spec in mine.keys() & theirs.keys():
            found = compare_methods(mine[spec], theirs[spec], label_of[spec[0]])
            rows.append({"a": name, "b": reference, "pairs": spec[0], "protocol": spec[1], "px": px, **found})
    for row, p_holm in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p_holm
        better = winner(row)
        row["beats"] = row[better] if better else None
    return rows


def _decisions_by_spec(runs: list[list[dict]], px: int) -> dict[tuple, np.ndarray]:
    """Spec -> bool (S, N), for the specs that every run has."""
    found = [{spec_of(row): decisions(row) for row in rows if row["px"] == px} for rows in runs]
    return {spec: np.stack([run[spec] for run in found]) for spec in found[0] if all(spec in run for run in found)}


def pairwise_table(rows: list[dict], reference: str) -> str:
    """Markdown: a line for each method against `reference`: points and interval, in bold with a verdict if significant."""
    mine = [swapped(row, reference) for row in rows if reference in (row["a"], row["b"])]
    specs = sorted(
        {(row["pairs"], row["protocol"]) for row in mine}, key=lambda spec: (spec[0] != "lfw_split", spec[1] != "lr-lr")
    )
    lines = [f"| against {reference} | " + " | ".join(f"{pairs} {protocol.upper()}" for pairs, protocol in specs) + " |"]
    lines.append("|---" * (len(specs) + 1) + "|")
    for name in dict.fromkeys(row["a"] for row in mine):
        found = {(row["pairs"], row["protocol"]): row for row in mine if row["a"] == name}
        lines.append(f"| {name} | " + " | ".join(_verdict(found[spec]) if spec in found else "n/a" for spec in specs) + " |")
    return "\n".join(lines)


def swapped(row: dict, reference: str) -> dict:
    """The same test with `reference` as "b"."""
    if row["b"] == reference:
        return row
    low, high = row["ci95"]
    return row | {"a": row["b"], "b": row["a"], "difference": -row["difference"], "ci95": [-high, -low]}


def _verdict(row: dict) -> str:
    """The difference with its interval; bold where it is significant."""
    low, high = row["ci95"]
    text = f"{row['difference']:+.2f} ({low:+.1f}..{high:+.1f})"
    if row["beats"] is None:
        return text
    return f"**{text}**, {'wins' if row['beats'] == row['a'] else 'loses'}"


def identities_in(evaluator) -> np.ndarray:
    """The identity of each image of an evaluator's pairs file, int (2N,)."""
    return identities_of(evaluator.face_2N, evaluator.same_N)


def cost_table(folders: dict[str, list[Path]]) -> str:
    """Markdown: a line for each method (name -> the run folders of its seeds), from their metrics.jsonl and `done`.

    Training images per second (median over the log), minutes of the whole run, peak memory; means over seeds.
    """
    lines = ["| | images/s | minutes | peak MB |", "|---|---|---|---|"]
    for name, runs in folders.items():
        costs = [json.loads((run / "done").read_text()) for run in runs]
        logs = [(run / "metrics.jsonl").read_text().splitlines() for run in runs]
        speed = statistics.median(json.loads(line)["samples_per_s"] for log in logs for line in log)
        seconds, peak = (statistics.mean(cost[key] for cost in costs) for key in ("seconds", "peak_mb"))
        lines.append(f"| {name} | {speed:.0f} | {seconds / 60:.1f} | {peak:.0f} |")
    return "\n".join(lines)
