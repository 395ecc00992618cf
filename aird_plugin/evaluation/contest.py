"""Many methods, several seeds each, the same questions: the tables that say who wins, by how much, and whether that is noise.

N = pairs of a file, S = seeds.
"""

import json
import statistics
from pathlib import Path

import numpy as np

from aird_plugin.data.pairs import people_of
from aird_plugin.evaluation.significance import compare_methods, holm
from aird_plugin.evaluation.verification import fold_decisions, verify
from aird_plugin.files import write_atomically

KEPT = ("pairs", "px", "protocol", "high_side", "n_pairs", "accuracy", "ci95")
ALPHA = 0.05


def ask(session, px: list[int], protocols: tuple[str, ...]) -> list[dict]:
    """A row for each px and protocol: the accuracy, and in "right", as hexadecimal, which of the N pairs were judged rightly.

    Raises what `Session.evaluate` raises.
    """
    rows = []
    for side in px:
        for protocol in protocols:
            embeddings_2ND = session.embeddings(side, protocol)
            row = session.setting(side, protocol) | verify(embeddings_2ND, session.same_N)
            right_N = fold_decisions(embeddings_2ND, session.same_N)
            rows.append({key: row[key] for key in KEPT} | {"right": np.packbits(right_N).tobytes().hex()})
    return rows


def answers(file: Path, sessions: dict[str, object], px: list[int], protocols: tuple[str, ...]) -> list[dict]:
    """`ask` of a network's session on each file of pairs; what `file` holds already is not asked again, and all is kept there.

    Given are the rows of these sessions alone: the same pairs under another path would count as a second run.
    """
    rows = json.loads(file.read_text()) if file.exists() else []
    for target, session in sessions.items():
        known = {row["px"] for row in rows if row["pairs"] == str(target)}
        missing = [side for side in px if side not in known]
        if missing:
            rows += ask(session, missing, protocols)
            write_atomically(file, json.dumps(rows).encode())
    return [row for row in rows if row["pairs"] in map(str, sessions)]


def decisions(row: dict) -> np.ndarray:
    """Which pairs a row judged rightly, bool (N,)."""
    packed = np.frombuffer(bytes.fromhex(row["right"]), np.uint8)
    return np.unpackbits(packed, count=row["n_pairs"]).astype(bool)


def question_of(row: dict) -> tuple:
    """What tells two questions apart, in the order of the tables: file, protocol, px."""
    return Path(row["pairs"]).stem, row["protocol"], row["px"]


def accuracy_table(results: dict[str, list[list[dict]]], pairs: str) -> str:
    """Markdown: a line for each method (name -> the rows of each of its seeds) on one file, given by its stem; per cent.

    Mean over seeds and their standard deviation; for one seed the 95% interval over pairs.
    """
    asked = {question_of(row) for runs in results.values() for rows in runs for row in rows}
    questions = sorted((q for q in asked if q[0] == pairs), key=lambda q: (q[1] != "lr-lr", q[2]))
    lines = ["| | " + " | ".join(f"{protocol.upper()} {px}" for _, protocol, px in questions) + " | seeds |"]
    lines.append("|---" * (len(questions) + 2) + "|")
    for name, runs in results.items():
        cells = [_figure([row for rows in runs for row in rows if question_of(row) == question]) for question in questions]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(runs)} |")
    return "\n".join(lines)


def _figure(rows: list[dict]) -> str:
    values = [row["accuracy"] for row in rows]
    if not values:
        return "n/a"
    if len(values) > 1:
        return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
    low, high = rows[0]["ci95"]
    return f"{values[0]:.2f} ({low:.1f}-{high:.1f})"


def duels(results: dict[str, list[list[dict]]], rivals: list[str], px: int, person_of: dict[str, np.ndarray]) -> list[dict]:
    """Every method against each of `rivals`, on every file and protocol at `px`: `compare_methods`, and p after Holm for all.

    person_of: who is on the faces of a file (its stem -> int (2N,)). "beats": the winner's name, None where these data cannot
    tell: the corrected p is 0.05 or more, or the interval holds 0.
    """
    rows, pairs_seen = [], set()
    for rival in rivals:
        for name in results:
            if name == rival or rival not in results or frozenset((name, rival)) in pairs_seen:
                continue
            pairs_seen.add(frozenset((name, rival)))
            mine, theirs = (_decisions_by_question(results[who], px) for who in (name, rival))
            for question in mine.keys() & theirs.keys():
                found = compare_methods(mine[question], theirs[question], person_of[question[0]])
                rows.append({"a": name, "b": rival, "pairs": question[0], "protocol": question[1], "px": px, **found})
    for row, p_holm in zip(rows, holm([row["p"] for row in rows]), strict=True):
        low, high = row["ci95"]
        sure = p_holm < ALPHA and not low <= 0 <= high
        row |= {"p_holm": p_holm, "beats": (row["a"] if low > 0 else row["b"]) if sure else None}
    return rows


def _decisions_by_question(runs: list[list[dict]], px: int) -> dict[tuple, np.ndarray]:
    """Question -> bool (S, N), for those that every run has answered."""
    answers = [{question_of(row): decisions(row) for row in rows if row["px"] == px} for rows in runs]
    return {question: np.stack([a[question] for a in answers]) for question in answers[0] if all(question in a for a in answers)}


def duel_table(rows: list[dict], rival: str) -> str:
    """Markdown: a line for each method against `rival`: points, interval, and the verdict in bold where it is sure."""
    mine = [turned(row, rival) for row in rows if rival in (row["a"], row["b"])]
    questions = sorted({(row["pairs"], row["protocol"]) for row in mine}, key=lambda q: (q[0] != "lfw_split", q[1] != "lr-lr"))
    lines = [f"| against {rival} | " + " | ".join(f"{pairs} {protocol.upper()}" for pairs, protocol in questions) + " |"]
    lines.append("|---" * (len(questions) + 1) + "|")
    for name in dict.fromkeys(row["a"] for row in mine):
        found = {(row["pairs"], row["protocol"]): row for row in mine if row["a"] == name}
        lines.append(f"| {name} | " + " | ".join(_verdict(found[q]) if q in found else "n/a" for q in questions) + " |")
    return "\n".join(lines)


def turned(row: dict, rival: str) -> dict:
    """The same duel with `rival` as "b"."""
    if row["b"] == rival:
        return row
    low, high = row["ci95"]
    return row | {"a": row["b"], "b": row["a"], "difference": -row["difference"], "ci95": [-high, -low]}


def _verdict(row: dict) -> str:
    low, high = row["ci95"]
    text = f"{row['difference']:+.2f} ({low:+.1f}..{high:+.1f})"
    if row["beats"] is None:
        return text
    return f"**{text}**, {'wins' if row['beats'] == row['a'] else 'loses'}"


def people_on(session) -> np.ndarray:
    """Who is on each face of a session's file, int (2N,)."""
    return people_of(session.face_2N, session.same_N)


def cost_table(folders: dict[str, list[Path]]) -> str:
    """Markdown: a line for each method (name -> the run folders of its seeds), from their metrics.jsonl and `done`.

    Faces a second while training (median over the log), minutes of the whole run, peak memory; means over seeds.
    """
    lines = ["| | faces/s | minutes | peak MB |", "|---|---|---|---|"]
    for name, runs in folders.items():
        costs = [json.loads((run / "done").read_text()) for run in runs]
        logs = [(run / "metrics.jsonl").read_text().splitlines() for run in runs]
        speed = statistics.median(json.loads(line)["samples_per_s"] for log in logs for line in log)
        seconds, peak = (statistics.mean(cost[key] for cost in costs) for key in ("seconds", "peak_mb"))
        lines.append(f"| {name} | {speed:.0f} | {seconds / 60:.1f} | {peak:.0f} |")
    return "\n".join(lines)
