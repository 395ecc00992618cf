import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.report.data import EvalResult, Scores
from aird_plugin.report.sections.scores import _shares
from aird_plugin.report.style import DARK, LIGHT
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.provenance import provenance

HOSTILE = "<script>alert(1)</script>\"'&amp;--><img src=x onerror=alert(2)>"
KEYS = ("summary", "accuracy", "training", "gradients", "scores", "errors", "identities", "batchnorm", "negatives", "hardest")
KEYS += ("all_results", "provenance")
VOID = {"meta", "img", "input", "br"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Tags, attributes and text of a page; `unmatched` holds end tags without a start tag."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.unmatched, self.text = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unmatched.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def report(tmp_path):
    """Function that runs `aird report` and returns the page."""

    def make(*arguments) -> str:
        out = tmp_path / "out" / "report.html"
        assert main(["report", *map(str, arguments), "--out", str(out)]) == 0
        return out.read_text()

    return make


@pytest.fixture(scope="module")
def full(tmp_path_factory, run_maker, pairs_file, teacher_file) -> str:
    """A page with data for every section."""
    folder = tmp_path_factory.mktemp("full")
    make = run_maker(folder)
    gradients = {"iid_gradient_norm": 0.1, "iid_gradient_to_identity": 0.2, "iid_gradient_to_teacher": 0.3}
    lines = [{"epoch": n / 4, "lr": 0.1, "loss": 9 / n, "iid": 1.5, "samples_per_s": 7} | gradients for n in range(1, 9)]
    runs = [
        make("a-seed0", lines=list(map(json.dumps, lines)), rid_negatives=4),
        make("a-seed1", 1, rid_negatives=4),
        make("b", 2, rid_negatives=16),
    ]
    arguments = ["--pairs", pairs_file, "--px", "16", "8", "--teacher", teacher_file, "--out", str(folder / "full.html")]
    assert main(["report", *runs, *arguments]) == 0
    return (folder / "full.html").read_text()


def test_every_section_is_drawn_as_valid_html_and_svg(full):
    page = Page(full)
    assert [attrs["id"] for attrs in page.all("section")] == list(KEYS)
    assert not page.unmatched and not page.open
    assert 'class="missing"' not in full
    charts = re.findall(r"<svg.*?</svg>", full, re.S)
    assert len(charts) > 20
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("aria-hidden") == "true" or (root.get("role") == "img" and root.get("aria-label"))
        assert not re.search(r"\bnan\b|\binf\b", chart)
    assert len({attrs["id"] for _, attrs in page.tags if "id" in attrs}) == len([1 for _, attrs in page.tags if "id" in attrs])


def test_files_of_one_name_have_headings_of_their_own(report, make_run, pairs_file, tmp_path):
    pairs = read_pairs(pairs_file)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / Path(pairs_file).name
    write_pairs(other, pairs.images[::-1], pairs.same[::-1])
    html = report(make_run("a"), "--pairs", pairs_file, str(other), "--px", "16", "--no-faces")
    names = f"{Path(pairs_file).parent.name}/chained", "other/chained"
    assert all(f"LR-LR at 16 px, {name}" in html and f"<td>{name}</td>" in html for name in names)


def test_headings_name_a_degradation_other_than_bicubic(report, make_run, pairs_file):
    """Its accuracies are points below those at the same px of other pages."""
    run = make_run("a")
    html = report(run, "--pairs", pairs_file, "--px", "16", "24", "--degradation", "blur", "--no-faces")
    headings = (
        "LR-LR at 16 px (blur), chained",
        "LR-LR (blur), chained: accuracy in per cent",
        "LR-LR at 16 px (blur)</caption>",
    )
    assert [heading for heading in headings if heading not in html] == []
    assert "LR-LR at 16 px, chained" in report(run, "--pairs", pairs_file, "--px", "16", "--no-faces")


def test_summary_of_recorded_rows_is_at_the_px_of_the_training(report, make_run):
    """In arcface_torch's loop the first row is of HR images, at which another method may be the best."""
    folders = [make_run("good"), make_run("bad", lr=1.0)]
    for folder, hr, lr in zip(folders, (90.0, 99.0), (80.0, 60.0), strict=True):
        row = {"pairs": "lfw.bin", "protocol": "lr-lr", "n_pairs": 100, "ci95": [50, 100]}
        rows = [row | {"px": 112, "accuracy": hr}, row | {"px": 16, "accuracy": lr}]
        (Path(folder) / "evaluation.json").write_text(json.dumps(rows))
    [card] = re.findall(r'<ul class="cards">.*?</ul>', report(*folders))
    assert "LR-LR at 16 px, lfw" in card and "80.00%" in card and "112" not in card


def test_figures_have_a_table_of_their_numbers(full):
    for section in re.findall(r"<section.*?</section>", full, re.S):
        assert "<table>" in section or 'class="verdicts"' in section, section[:200]
    assert full.count("<figure>") == full.count("<figcaption>") > 15


def test_page_is_self_contained(full):
    page = Page(full)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "script-src" not in policy and "http" not in policy
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:image/png;base64,").startswith("data:image/png;base64,"), tag
        assert attrs.get("href", "#").startswith("#"), tag
    assert "url(" not in full and "@import" not in full and "@font-face" not in full
    assert all(attrs["alt"] for attrs in page.all("img")) and page.all("img")


def test_text_of_runs_is_escaped(report, make_run, tmp_path, pairs_file):
    name = HOSTILE.replace("/", "_")
    lines = [json.dumps({"epoch": n, HOSTILE: float(n)}) for n in range(3)] + ["junk"]
    folders = [make_run(name, lines=lines, teacher=HOSTILE, extra=HOSTILE), make_run("b", 1, extra={HOSTILE: 1})]
    row = {
        "pairs": HOSTILE,
        "px": 16,
        "protocol": HOSTILE,
        "n_pairs": 9,
        "accuracy": 9,
        "ci95": [8, 9],
        "high_side": HOSTILE,
        "facebn": HOSTILE,
        "degradation": HOSTILE,
        "tar": {"0.01": 10**400, "0.001": HOSTILE},
        "auc": HOSTILE,
        "centre": [HOSTILE],
    }
    (tmp_path / name / "evaluation.json").write_text(json.dumps([row, row | {"facebn": None, "centre": False}]))
    for html in (report(*folders), report(*folders, "--pairs", pairs_file, "--no-faces")):
        page = Page(html)
        assert not page.all("script") and not page.all("img") and not page.unmatched and not page.open
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert any(HOSTILE in text or name in text for text in page.text)
        for chart in re.findall(r"<svg.*?</svg>", html, re.S):
            ElementTree.fromstring(chart)


def test_gradient_diagnostics_have_a_panel_of_their_own(report, make_run):
    gradients = {"iid_gradient_norm": 2.0, "iid_gradient_to_identity": 0.25, "rid_gradient_to_teacher": -0.5}
    lines = [json.dumps({"epoch": n, "loss": 1.0} | (gradients if n % 2 else {})) for n in range(4)]
    html = report(make_run("a", lines=lines), make_run("b", lr=0.2))
    panel = html[html.index('id="gradients"') : html.index('id="scores"')]
    assert panel.count("<svg") == 3 and "-0.5" in panel and "0.25" in panel
    assert "gradient" not in html[html.index('id="training"') : html.index('id="gradients"')]


def test_methods_stay_near_their_px_however_many(report, make_run, tmp_path):
    row = {"pairs": "lfw.bin", "protocol": "lr-lr", "n_pairs": 9, "accuracy": 50, "ci95": [8, 90]}
    runs = [make_run(f"run-{letter}", lr=0.1 + n) for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    for run in runs:
        rows = [row | {"px": 16}, row | {"px": 20}]
        (tmp_path / Path(run).name / "evaluation.json").write_text(json.dumps(rows))
    html = report(*runs)
    panel = html[html.index('id="accuracy"') : html.index('id="training"')]
    places = {px: [] for px in (16, 20)}
    for x, px in re.findall(r'translate\(([\d.]+) [^)]*\)"><title>run-. at (\d+) px', panel):
        places[int(px)].append(float(x))
    assert max(places[16]) < min(places[20]) and len(places[16]) == len(places[20]) == 26


def test_report_of_a_collapsed_student_is_written(report, make_run, pairs_file):
    folder = Path(make_run("a"))
    state = torch.load(folder / "model.pt")
    for name, value in state.items():
        if value.is_floating_point() and "running" not in name:
            value.fill_(float(name == "features.bias"))
    torch.save(state, folder / "model.pt")
    html = report(folder, "--pairs", pairs_file)
    assert "all alike" in html and "nan" not in html[html.index('id="identities"') : html.index('id="batchnorm"')]


def test_settings_show_every_digit(report, make_run):
    """A weight decay of 0.0005 beside one of 0.0001 was shown as 0.00 beside 0.00."""
    html = report(make_run("a", weight_decay=5e-4, lr=0.025), make_run("b", weight_decay=1e-4, lr=0.02))
    settings = html[html.index("Methods and settings") : html.index("</details>")]
    assert [value for value in ("0.0005", "0.0001", "0.025", "0.02") if f">{value}</td>" not in settings] == []


def test_histograms_hold_every_pair():
    """An image and its copy may have a cosine that is rounded to 1.0000001, above the last bin."""
    scores = Scores(np.array([1 + 1e-7, 0.9, 0.1, -0.2], np.float32), np.array([True, True, False, False]), None, None)
    result = EvalResult("a", 0, "run", None, {}, scores)
    assert [share.sum() for share in _shares(result, np.linspace(-0.2, 1, 41))] == pytest.approx([100, 100])


def test_one_impostor_pair_gives_rates_without_a_curve(report, make_run, pairs_file, tmp_path):
    """The page ended in StatisticsError, after all evaluations."""
    pairs = read_pairs(pairs_file)
    chosen = [pair for pair in range(40) if pairs.same[pair] or pair == 21]
    images = [image for pair in chosen for image in pairs.images[2 * pair : 2 * pair + 2]]
    write_pairs(tmp_path / "one.bin", images, pairs.same[chosen])
    html = report(make_run("a"), "--pairs", tmp_path / "one.bin", "--no-faces")
    errors = html[html.index('id="errors"') : html.index('id="identities"')]
    assert "Equal error rate" in errors and "<svg" not in errors


def test_section_without_data_states_what_it_needs(report, make_run):
    html = report(make_run("a", lines=[], weights=False))
    assert [attrs["id"] for attrs in Page(html).all("section")] == list(KEYS)
    assert html.count('class="missing"') == len(KEYS) - 1, "provenance is always available"
    needs = ("val_targets", "--px 8 12", "metrics.jsonl", "verification file", "link four", "BatchNorm", "rid_negatives=16")
    for need in (*needs, "gradient_diagnostics=1"):
        assert need in html


def test_high_side_is_stated_where_it_differs(report, make_run, tmp_path):
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-hr", "n_pairs": 9, "accuracy": 50, "ci95": [8, 90]}
    runs = [make_run("a"), make_run("b", lr=0.2)]
    for name, side in (("a", "student"), ("b", "teacher")):
        (tmp_path / name / "evaluation.json").write_text(json.dumps([row | {"high_side": side}]))
    html = report(*runs)
    assert "LR-HR: HR images are embedded by the student for a; by the teacher for b." in html and "level with b" in html
    assert "HR images are embedded" not in report(runs[0])


def test_no_faces_omits_images(report, make_run, pairs_file):
    assert "data:image/png" not in report(make_run("a"), "--pairs", pairs_file, "--no-faces")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--px", "16"], "need verification files"),
        (["--degradation", "blur"], "need verification files"),
        (["--pairs", "none.bin"], "no pairs file at none.bin"),
        (["--pairs", "{pairs}", "--px", "3"], "px"),
        (["--pairs", "{pairs}", "--high-side", "me"], "--high-side must be one of"),
        (["--pairs", "{pairs}", "--teacher", "none.onnx"], "none.onnx"),
        (["--pairs", "{pairs}", "--degradation", "fog"], "fog"),
        (["--pairs", "{run}/recipe.json"], "recipe.json"),
    ],
)
def test_bad_argument_is_reported_in_one_line_and_writes_no_file(make_run, tmp_path, pairs_file, capsys, arguments, message):
    run = make_run("a")
    arguments = [argument.format(pairs=pairs_file, run=run) for argument in arguments]
    assert main(["report", run, "--out", str(tmp_path / "r.html"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("px", [None, "16", 3])
def test_run_without_valid_px_is_reported_in_one_line(make_run, tmp_path, pairs_file, capsys, px):
    arguments = ["report", make_run("a", metadata={"px": px}), "--pairs", pairs_file, "--out", str(tmp_path / "r.html")]
    assert main(arguments) == 1
    assert "px" in capsys.readouterr().err and not (tmp_path / "r.html").exists()


def test_invalid_unicode_in_a_name_is_replaced(report, make_run):
    assert "?" in report(make_run("a\udce9"))


def test_output_folder_is_rejected(make_run, tmp_path, capsys):
    assert main(["report", make_run("a"), "--out", str(tmp_path)]) == 1
    assert "give the file to write" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_rejected_before_anything_is_evaluated(make_run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["report", make_run("a"), "--pairs", "none.bin", "--out", str(tmp_path / "file" / "r.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_sufficient_contrast(theme):
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for lines."""
    for name, colour in theme.items():
        for paper in (theme["paper"], theme["panel"]):
            bright, dim = sorted((luminance(colour), luminance(paper)), reverse=True)
            least = 4.5 if name in ("ink", "soft", "link") else 3 if re.fullmatch(r"s\d", name) else 0
            assert (bright + 0.05) / (dim + 0.05) >= least, name


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")
def test_page_fits_a_phone(full, tmp_path):
    """A browser renders the page in a frame 360 px wide, opens all details and reports the page width."""
    (tmp_path / "full.html").write_text(full)
    measure = """<iframe id="f" src="full.html" style="width:360px;height:800px;border:0"></iframe><p id="result"></p><script>
    f.onload = () => {
      const page = f.contentDocument, charts = page.querySelectorAll("svg.chart").length;
      page.querySelectorAll("details").forEach(element => element.open = true);
      result.textContent = `width ${page.documentElement.scrollWidth} charts ${charts}`; }</script>"""
    (tmp_path / "outer.html").write_text(measure)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=9000"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path / 'outer.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    width, charts = map(int, re.search(r"width (\d+) charts (\d+)", done.stdout).groups())
    assert width <= 360 and charts > 15


def test_provenance_of_runs_and_pairs_is_listed(make_run, pairs_file, tmp_path):
    recorded = provenance()
    metadata = recorded | {"records": {"sha256": "f" * 64}, "earlier": [{}, {}]}
    broken = {"code": 5, "machine": None, "versions": [1], "earlier": "x", "records": "y"}
    arguments = ["report", make_run("a", metadata=metadata), make_run("b", metadata=broken, lr=0.2), "--pairs", pairs_file]
    assert main([*arguments, "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    section = page[page.index('<section id="provenance">') : page.index("</main>")]
    commit = recorded["code"]["commit"]
    expected = [recorded["code"]["tree"][:12], commit and commit[:12], "f" * 12, recorded["time"], file_sha256(pairs_file)[:12]]
    assert all(text in section for text in expected if text)
    assert "f" * 13 not in section and f"tree {recorded['code']['tree']}" in page[page.index("<footer>") :]
    assert "Impostors" in section and ">3<" in section
