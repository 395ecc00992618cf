"""Sections -> one HTML file that asks nothing of anybody: no script, no font, no request."""

import datetime

from aird_plugin import __version__
from aird_plugin.provenance import provenance
from aird_plugin.report.html import legend, paragraph, table, text
from aird_plugin.report.material import Material
from aird_plugin.report.runs import differences
from aird_plugin.report.sections import (
    accuracy,
    batchnorm,
    curves,
    errors,
    everything,
    hardest,
    negatives,
    origin,
    people,
    scores,
    summary,
)  # fmt: skip
from aird_plugin.report.style import style

SECTIONS = (summary, accuracy, curves, scores, errors, people, batchnorm, negatives, hardest, everything, origin)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
THEMES = (("auto", "Auto"), ("light", "Light"), ("dark", "Dark"))


def page(material: Material) -> str:
    """The whole file. A section without data says in one line what it would need."""
    sections = [module.section(material) for module in SECTIONS]
    links = "".join(f'<li><a href="#{section.key}">{text(section.title)}</a></li>' for section in sections)
    body = "".join(f'<section id="{section.key}"><h2>{text(section.title)}</h2>{section.body}</section>' for section in sections)
    title = "Report: " + ", ".join(method.name for method in material.methods)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title><style>{style()}</style></head>"
        f'<body><a class="skip" href="#{sections[0].key}">Skip to the figures</a>{_head(material)}'
        f'<main><nav aria-label="Sections"><ul>{links}</ul></nav>{body}</main>{_foot(material)}</body></html>\n'
    )


def _head(material: Material) -> str:
    buttons = "".join(
        f'<label><input type="radio" name="theme" id="{key}"{" checked" if key == "auto" else ""}><span>{name}</span></label>'
        for key, name in THEMES
    )
    runs = sum(len(method.runs) for method in material.methods)
    told = f"{runs} run{'s' * (runs != 1)} of {len(material.methods)} method{'s' * (len(material.methods) != 1)}"
    notes = "".join(f"<li>{text(note)}</li>" for note in material.notes)
    notes = notes and f'<ul class="notes soft">{notes}</ul>'
    return (
        f'<header><div class="top"><div><h1>How small students see tiny faces</h1>{paragraph(told, "soft")}</div>'
        f'<fieldset class="theme"><legend>Colours</legend>{buttons}</fieldset></div>'
        f"{legend((name, material.look(name)) for name in material.names)}"
        f"{_methods(material)}{notes}</header>"
    )


def _methods(material: Material) -> str:
    """What the methods are and in what they differ."""
    apart = differences(material.methods)
    rows = []
    for index, method in enumerate(material.methods):
        facts, seeds = method.runs[0].facts, ", ".join(str(run.seed) for run in method.runs)
        rows.append([method.name, facts.get("network"), facts.get("parameters"), facts.get("px"), seeds,
                     *(_value(values[index]) for values in apart.values())])  # fmt: skip
    head = ["Method", "Network", "Parameters", "px", "Seeds", *apart]
    caption = "What was trained, and every recipe key in which the methods differ"
    return f"<details><summary>What the methods are</summary>{table(head, rows, caption)}</details>"


def _value(value):
    """Loss terms by their names alone."""
    return ", ".join(map(str, value)) if isinstance(value, dict) else value


def _foot(material: Material) -> str:
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    code = provenance()["code"]
    by = f"{__version__}, commit {origin.commit_of(code) or 'unknown'}, tree {code['tree']}"
    advice = paragraph("It holds all it shows and asks nothing of the network. If it shows faces, treat it as you treat faces.")
    command = f"<pre><code>{text(material.command)}</code></pre>"
    return f"<footer><p>Made {text(made)} by aird_plugin {text(by)}, with</p>{command}{advice}</footer>"
