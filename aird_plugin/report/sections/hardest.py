"""The pairs that most students get wrong, as images."""

from aird_plugin.report.data import HardPair, ReportData
from aird_plugin.report.html import Section, image, missing, paragraph, text

TITLE = "Hardest pairs"
NEEDS = "The hardest pairs need --pairs with a verification file, without --no-faces."
NOTE = (
    "LR-LR. The upper row shows the LR images of a pair, the lower row the HR originals, which the students did not receive. "
    "Pairs are ranked by the mean over all students (first seed each), at each student's best threshold over all pairs. Pair "
    "numbers start at 0; wrong decisions are bold. Check for wrong labels, failed crops and poses that are absent from the "
    "training set before attributing an error to the network."
)


def section(data: ReportData) -> Section:
    """Genuine pairs with low similarity, then impostor pairs with high similarity."""
    if data.focus is None or not data.focus.hard:
        return Section("hardest", TITLE, missing(NEEDS))
    parts = [paragraph(NOTE, "soft")]
    for same, title in ((True, "Genuine pairs rejected"), (False, "Impostor pairs accepted")):
        pairs = [_pair(pair, data.focus.px) for pair in data.focus.hard if pair.same == same]
        if pairs:
            parts.append(f'<h3>{title}</h3><div class="pairs">{"".join(pairs)}</div>')
    return Section("hardest", TITLE, "".join(parts))


def _pair(pair: HardPair, px: int) -> str:
    """One pair: its images at both sizes, and each network's decision."""
    wrong = sum(not correct for _, _, correct in pair.decisions)
    images = [image(png, f"pair {pair.number}, image {n + 1} at {px} px", "low") for n, png in enumerate(pair.low)]
    images += [image(png, f"pair {pair.number}, image {n + 1}, HR", "high") for n, png in enumerate(pair.high)]
    decisions = ((name, cosine, "correct" if correct else "wrong") for name, cosine, correct in pair.decisions)
    items = "".join(f'<li class="{v}"><span>{text(name)}</span><span>{text(c)} {v}</span></li>' for name, c, v in decisions)
    caption = f"Pair {pair.number}: wrong for {wrong} of {len(pair.decisions)}"
    faces = f'<div class="faces">{"".join(images)}</div><ul class="verdicts">{items}</ul>'
    return f"<figure><figcaption>{caption}</figcaption>{faces}</figure>"
