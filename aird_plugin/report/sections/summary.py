"""The best method per protocol, and its margin."""

from collections.abc import Iterator

from aird_plugin.report.data import TEACHER_NAME, EvalResult, MethodSummary, ReportData
from aird_plugin.report.html import Section, figures, missing, numbers, paragraph, text
from aird_plugin.report.sections.forest import forest, format_score, summary_table

NEEDS = "No accuracies: give --pairs with a verification file, or set val_targets in the recipe of the runs."
NOTE = (
    "Markers show the mean over seeds, faint markers the single seeds, bars the 95% interval for this set of pairs. Overlapping "
    "intervals do not imply an insignificant difference: all methods use the same pairs, so a paired test has more power."
)


def section(data: ReportData) -> Section:
    """A card and a chart for each protocol at the px in focus."""
    specs = headline_specs(data)
    cards, charts, tables = [], [], []
    for spec in specs:
        summaries, title = data.summaries(**spec), spec_title(data, spec)
        cards.append(_card(summaries, title))
        charts.append(forest(data, summaries, title))
        tables.append(summary_table(summaries, title))
    if not cards:
        return Section("summary", "Summary", missing(NEEDS))
    note = paragraph(" ".join([NOTE, *_high_sides(data, specs)]), "soft")
    body = f'<ul class="cards">{"".join(cards)}</ul>{figures(charts, "wide")}{note}{numbers(*tables)}'
    return Section("summary", "Summary", body)


def headline_specs(data: ReportData) -> list[dict]:
    """One spec per protocol: the first pairs file at the px in focus.

    Without a focus: at the px of the first run's training. arcface_torch's loop verifies on HR images too, and first.
    """
    if not data.evaluated():
        return []
    first = data.evaluated()[0][0]
    sides = [result.row["px"] for result in data.results if result.row["pairs"] == first]
    trained = [run.metadata.get("px") for method in data.methods for run in method.runs]
    px = data.focus.px if data.focus else next((px for px in trained if px in sides), sides[0])
    specs = [{"pairs": pairs, "px": px, "protocol": protocol} for pairs, protocol in data.evaluated() if pairs == first]
    return [spec for spec in specs if data.find(**spec)]


def spec_title(data: ReportData, spec: dict) -> str:
    """Title of an evaluation, such as "LR-LR at 16 px, lfw_split", or "LR-LR at 16 px (blur), lfw_split"."""
    return f"{spec['protocol'].upper()} at {spec['px']} px{data.degradation_of(**spec)}, {data.file_names[spec['pairs']]}"


def first_scores(data: ReportData, spec: dict) -> list[tuple[str, EvalResult]]:
    """The result of the first seed of each method, where it has scores."""
    first = [(name, data.find(name=name, **spec)[:1]) for name in data.names]
    return [(name, result) for name, results in first for result in results if result.scores is not None]


def _high_sides(data: ReportData, specs: list[dict]) -> Iterator[str]:
    """The network that embeds the HR side, if it differs between students."""
    for spec in specs:
        sides: dict[str, list[str]] = {}
        for summary in data.summaries(**spec):
            if summary.name != TEACHER_NAME:
                side = data.find(name=summary.name, **spec)[0].row.get("high_side")
                sides.setdefault(str(side), []).append(summary.name)
        if len(sides) > 1:
            each = "; ".join(f"by the {side} for {', '.join(names)}" for side, names in sides.items())
            yield f"{spec['protocol'].upper()}: HR images are embedded {each}."


def _card(summaries: list[MethodSummary], title: str) -> str:
    """The best student of a setting, and its lead over the second."""
    students = [s for s in summaries if s.name != TEACHER_NAME]
    best = (students or summaries)[0]
    lines = [f"<span>{text(title)}</span><b>{text(format_score(best))}%</b><span>{text(best.name)}</span>"]
    if len(students) > 1:
        lead = best.mean - students[1].mean
        margin = f"{lead:.2f} points above" if lead >= 0.005 else "level with"
        lines.append(f'<span class="soft">{text(f"{margin} {students[1].name}")}</span>')
    teacher = [s for s in summaries if s.name == TEACHER_NAME]
    if teacher and students:
        gain = f"{best.mean - teacher[0].mean:+.2f} points relative to the teacher ({teacher[0].mean:.2f}%)"
        lines.append(f'<span class="soft">{text(gain)}</span>')
    return f"<li>{''.join(lines)}</li>"
