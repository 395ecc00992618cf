"""CITATION.cff, CHANGELOG.md, setup.py and the issue forms agree with the package."""

import re
from pathlib import Path

import pytest

from aird_plugin import __version__

ROOT = Path(__file__).parents[1]
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def test_citation_and_changelog_name_the_version():
    assert re.search(r"^version: (.*)", (ROOT / "CITATION.cff").read_text(), re.M)[1] == __version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == __version__


def test_citation_names_the_authors_of_the_licence_and_the_four_papers():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (authors,) = (author["name"] for author in citation["authors"])
    assert authors in (ROOT / "LICENSE").read_text() and f'author="{authors}"' in (ROOT / "setup.py").read_text()
    papers = {"2409.02049", "2409.11786", "2308.09230", "2409.06371"}
    assert {reference["url"].removeprefix("https://arxiv.org/abs/") for reference in citation["references"]} == papers
    assert all(reference["authors"] and reference["title"] and reference["year"] for reference in citation["references"])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_issue_forms_ask_for_the_doctors_output(form):
    yaml = pytest.importorskip("yaml")
    fields = {field["id"]: field["attributes"] for field in yaml.safe_load(form.read_text())["body"]}
    assert "aird doctor" in fields["doctor"]["label"] and all(field["label"] for field in fields.values())
