"""The pairs that most students get wrong, as pictures."""

from aird_plugin.report.html import Section, missing, paragraph, picture, text
from aird_plugin.report.material import HardPair, Material

TITLE = "Hardest pairs"
NEEDS = "The hardest pairs need --pairs with a verification file; --no-faces leaves them out."
READ = (
    "LR-LR. Left and right what a network saw, below them the pictures behind, which no student met. Chosen by all students "
    "together, the first seed of each; a student's threshold is the best it could have over all pairs. Pairs are counted "
    "from 0, wrong verdicts are bold. Look for labels that are wrong, crops that failed and poses that no training face had "
    "before you blame the network."
)


def section(material: Material) -> Section:
    """Genuine pairs that look different, then impostor pairs that look alike."""
    if material.focus is None or not material.focus.hard:
        return Section("hardest", TITLE, missing(NEEDS))
    parts = [paragraph(READ, "soft")]
    for same, title in ((True, "The same person, judged different"), (False, "Different people, judged the same")):
        pairs = [_pair(pair, material.focus.px) for pair in material.focus.hard if pair.same == same]
        if pairs:
            parts.append(f'<h3>{title}</h3><div class="pairs">{"".join(pairs)}</div>')
    return Section("hardest", TITLE, "".join(parts))


def _pair(pair: HardPair, px: int) -> str:
    wrong = sum(not right for _, _, right in pair.verdicts)
    pictures = [picture(png, f"pair {pair.number}, face {n + 1} at {px} px", "low") for n, png in enumerate(pair.low)]
    pictures += [picture(png, f"pair {pair.number}, face {n + 1}, sharp", "high") for n, png in enumerate(pair.high)]
    judged = ((name, cosine, "right" if right else "wrong") for name, cosine, right in pair.verdicts)
    verdicts = "".join(f'<li class="{v}"><span>{text(name)}</span><span>{text(c)} {v}</span></li>' for name, c, v in judged)
    caption = f"Pair {pair.number}: wrong for {wrong} of {len(pair.verdicts)}"
    faces = f'<div class="faces">{"".join(pictures)}</div><ul class="verdicts">{verdicts}</ul>'
    return f"<figure><figcaption>{caption}</figcaption>{faces}</figure>"
