"""Assembles the sections into one self-contained HTML file: no scripts, no fonts, no requests."""

import datetime

from aird_plugin import __version__
from aird_plugin.report.data import ReportData
from aird_plugin.report.html import legend, paragraph, table, text
from aird_plugin.report.runs import differences
from aird_plugin.report.sections import (
    accuracy,
    all_results,
    batchnorm,
    errors,
    gradients,
    hardest,
    identities,
    negatives,
    scores,
    summary,
    training,
)
from aird_plugin.report.sections import provenance as provenance_section
from aird_plugin.report.style import style
from aird_plugin.utils.provenance import provenance

SECTIONS = (
    summary,
    accuracy,
    training,
    gradients,
    scores,
    errors,
    identities,
    batchnorm,
    negatives,
    hardest,
    all_results,
    provenance_section,
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
THEMES = (("auto", "Auto"), ("light", "Light"), ("dark", "Dark"))


def page(data: ReportData) -> str:
    """The HTML file. A section without data states in one line what it needs."""
    sections = [module.section(data) for module in SECTIONS]
    links = "".join(f'<li><a href="#{section.key}">{text(section.title)}</a></li>' for section in sections)
    body = "".join(f'<section id="{section.key}"><h2>{text(section.title)}</h2>{section.body}</section>' for section in sections)
    title = "Report: " + ", ".join(method.name for method in data.methods)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title><style>{style()}</style></head>"
        f'<body><a class="skip" href="#{sections[0].key}">Skip to the figures</a>{_head(data)}'
        f'<main><nav aria-label="Sections"><ul>{links}</ul></nav>{body}</main>{_foot(data)}</body></html>\n'
    )


def _head(data: ReportData) -> str:
    buttons = "".join(
        f'<label><input type="radio" name="theme" id="{key}"{" checked" if key == "auto" else ""}><span>{name}</span></label>'
        for key, name in THEMES
    )
    runs = sum(len(method.runs) for method in data.methods)
    subtitle = f"{runs} run{'s' * (runs != 1)} of {len(data.methods)} method{'s' * (len(data.methods) != 1)}"
    notes = "".join(f"<li>{text(note)}</li>" for note in data.notes)
    notes = notes and f'<ul class="notes soft">{notes}</ul>'
    return (
        f'<header><div class="top"><div><h1>Face recognition on tiny faces</h1>{paragraph(subtitle, "soft")}</div>'
        f'<fieldset class="theme"><legend>Theme</legend>{buttons}</fieldset></div>'
        f"{legend((name, data.style_of(name)) for name in data.names)}"
        f"{_methods(data)}{notes}</header>"
    )


def _methods(data: ReportData) -> str:
    """The methods and the recipe keys in which they differ."""
    varying = differences(data.methods)
    rows = []
    for index, method in enumerate(data.methods):
        metadata, seeds = method.runs[0].metadata, ", ".join(str(run.seed) for run in method.runs)
        rows.append(
            [
                method.name,
                metadata.get("network"),
                metadata.get("parameters"),
                metadata.get("px"),
                seeds,
                *(_value(values[index]) for values in varying.values()),
            ]
        )
    head = ["Method", "Network", "Parameters", "px", "Seeds", *varying]
    caption = "Networks, and every recipe key in which the methods differ"
    return f"<details><summary>Methods and settings</summary>{table(head, rows, caption)}</details>"


def _value(value):
    """Loss terms by name only. Floats in full: with the two decimals of a table a weight decay of 0.0005 is 0.00."""
    if isinstance(value, float):
        return str(value)
    return ", ".join(map(str, value)) if isinstance(value, dict) else value


def _foot(data: ReportData) -> str:
    created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    code = provenance()["code"]
    version = f"{__version__}, commit {provenance_section.commit_of(code) or 'unknown'}, tree {code['tree']}"
    advice = paragraph("This file is self-contained and makes no network requests. If it shows faces, treat it as face images.")
    command = f"<pre><code>{text(data.command)}</code></pre>"
    return f"<footer><p>Created {text(created)} by aird_plugin {text(version)} with</p>{command}{advice}</footer>"
