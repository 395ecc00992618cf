"""The input probe at the start of a run: a few ways to feed the teacher, on few images, within seconds.

P = identities with two images each.
"""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.input_probe import MIN_GAIN, NORMALISATIONS, embedded, flag_value, ways_to_feed
from aird_plugin.diagnostics.teacher_input import MIN_T, margins, sample_pairs, t_statistic
from aird_plugin.models.teacher_input import TeacherInput

# Seconds for all ways together and for the channel order alone, on an idle processor; identities for
# another normalisation and for the channel order, whose wrong one is found with t of 5 or more on 57 identities.
SECONDS, SECONDS_COLOR, FEW, SOME = 5.0, 30.0, 20, 100


def check_at_start(teacher, records, unlimited: bool = False) -> Iterator[Diagnostic]:
    """A warning for each teacher that does clearly better in another way; nothing otherwise.

    Nothing either where the check of the channel order alone would take more than half a minute, unless `unlimited`: before a
    bank is built, whose cost is many times that of the check.
    """
    teachers = getattr(teacher, "teachers", (teacher,))
    if not all(hasattr(one, "with_input") for one in teachers):
        return
    images_2PHWC, coloured = sample_pairs(records, identities=SOME)
    if len(images_2PHWC) < 2 * FEW:
        return
    for one in teachers:
        found = best_of_few(one, images_2PHWC, coloured, 1 / len(teachers) if not unlimited else math.inf)
        if found is None:
            continue
        way, t = found
        yield Diagnostic(
            "warning",
            f"{one.path.name} separates the training identities better with teacher_input {flag_value(way)} (t = {t:.1f})",
            f"`aird doctor --teacher {one.path} --rec FOLDER` compares the ways to feed it",
        )


def best_of_few(teacher, images_2PHWC: np.ndarray, coloured: bool, budget: float = 1.0) -> tuple[TeacherInput, float] | None:
    """The best of a few ways and its t, None where the present one is as good, or where the probe would exceed the budget.

    budget: in units of `SECONDS` for all ways, and of `SECONDS_COLOR` for the other channel order alone.
    """
    present = ways_to_feed(teacher)[0]
    swapped = TeacherInput("rgb" if present.color == "bgr" else "bgr")
    others = [TeacherInput(mean=mean, std=std).over(present) for mean, std in NORMALISATIONS if teacher.input.dtype != "uint8"]
    color_plan = [(swapped.over(present), len(images_2PHWC) // 2)] * coloured
    plan = [(way, FEW) for way in others if way != present] + color_plan
    began = processor_seconds()
    few_2FD = embedded(teacher, present, images_2PHWC[: 2 * FEW])
    per_identity = (processor_seconds() - began) / FEW

    def seconds(plan) -> float:
        return per_identity * (sum(identities for _, identities in plan) + len(images_2PHWC) // 2)

    if seconds(plan) > SECONDS * budget:
        # A large teacher on a CPU: its channel order alone, or nothing, which leaves it to `aird doctor --teacher`.
        plan = color_plan if seconds(color_plan) <= SECONDS_COLOR * budget else []
    if not plan:
        return None
    rest = [embedded(teacher, present, images_2PHWC[2 * FEW :])] if len(images_2PHWC) > 2 * FEW else []
    margins_of = {FEW: margins(few_2FD), len(images_2PHWC) // 2: margins(np.concatenate([few_2FD, *rest]))}
    best = None
    for way, identities in plan:
        gain_P = margins(embedded(teacher, way, images_2PHWC[: 2 * identities])) - margins_of[identities]
        t = t_statistic(gain_P)
        if t > MIN_T and gain_P.mean() > MIN_GAIN and (best is None or gain_P.mean() > best[2]):
            best = (way, t, gain_P.mean())
    return best and best[:2]


def processor_seconds() -> float:
    """Processor time divided by torch's threads: about the time on an idle machine, whatever else runs now."""
    return time.process_time() / torch.get_num_threads()
