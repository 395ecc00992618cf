"""Who does best, by how much."""

from aird_plugin.report.html import Section, figures, missing, numbers, paragraph, text
from aird_plugin.report.material import TEACHER_NAME, Material, Standing, file_name
from aird_plugin.report.sections.forest import forest, standings_table, told

NEEDS = "No accuracy yet: give --pairs with a verification file, or let the runs verify themselves (val_targets in the recipe)."
READ = (
    "The mark is the mean over seeds, the faint marks are the seeds, the bar is the 95% interval of this one set of pairs. "
    "Intervals that overlap decide nothing by themselves: all methods met the same pairs, so a paired test can tell more."
)


def section(material: Material) -> Section:
    """A card and a chart for each protocol at the px that the report is about."""
    questions = headline(material)
    cards, charts, tables = [], [], []
    for question in questions:
        standings, title = material.standings(**question), heading(question)
        cards.append(_card(standings, title))
        charts.append(forest(material, standings, title))
        tables.append(standings_table(standings, title))
    if not cards:
        return Section("summary", "At a glance", missing(NEEDS))
    words = paragraph(" ".join([READ, *_sharp_sides(material, questions)]), "soft")
    body = f'<ul class="cards">{"".join(cards)}</ul>{figures(charts, "wide")}{words}{numbers(*tables)}'
    return Section("summary", "At a glance", body)


def headline(material: Material) -> list[dict]:
    """The questions on top: every protocol on the first pairs file at the px of the report, or at the first that was answered."""
    if not material.asked():
        return []
    first = material.asked()[0][0]
    px = material.focus.px if material.focus else next(a.row["px"] for a in material.answers if a.row["pairs"] == first)
    questions = [{"pairs": pairs, "px": px, "protocol": protocol} for pairs, protocol in material.asked() if pairs == first]
    return [question for question in questions if material.find(**question)]


def heading(question: dict) -> str:
    """LR-LR at 16 px, lfw_split"""
    return f"{question['protocol'].upper()} at {question['px']} px, {file_name(question['pairs'])}"


def _sharp_sides(material: Material, questions: list[dict]):
    """Who embeds the sharp side, where that is not the same for all students."""
    for question in questions:
        who: dict[str, list[str]] = {}
        for standing in material.standings(**question):
            if standing.name != TEACHER_NAME:
                side = material.find(name=standing.name, **question)[0].row.get("high_side")
                who.setdefault(str(side), []).append(standing.name)
        if len(who) > 1:
            each = "; ".join(f"by the {side} for {', '.join(names)}" for side, names in who.items())
            yield f"{question['protocol'].upper()}: sharp faces are embedded {each}."


def _card(standings: list[Standing], title: str) -> str:
    students = [s for s in standings if s.name != TEACHER_NAME]
    best = (students or standings)[0]
    lines = [f"<span>{text(title)}</span><b>{text(told(best))}%</b><span>{text(best.name)}</span>"]
    if len(students) > 1:
        lead = best.mean - students[1].mean
        before = f"{lead:.2f} points before" if lead >= 0.005 else "level with"
        lines.append(f'<span class="soft">{text(f"{before} {students[1].name}")}</span>')
    teacher = [s for s in standings if s.name == TEACHER_NAME]
    if teacher and students:
        gain = f"{best.mean - teacher[0].mean:+.2f} points on its teacher, {teacher[0].mean:.2f}%"
        lines.append(f'<span class="soft">{text(gain)}</span>')
    return f"<li>{''.join(lines)}</li>"
