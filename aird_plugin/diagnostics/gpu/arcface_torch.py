"""Training inside an arcface_torch checkout on the device."""

import json
import math
import statistics
from collections.abc import Iterator

from aird_plugin.diagnostics.gpu.check import FAILED, NOTE, OK, CheckContext, Row, Skipped
from aird_plugin.diagnostics.gpu.runs import aird
from aird_plugin.diagnostics.gpu.speed import speed_recipe
from aird_plugin.diagnostics.gpu.synthetic import reduced_recipe
from aird_plugin.utils.package_recipes import recipes_folder

RECIPE = "ablations/faces15k_r18_lr16.py"
STEPS = 20


def check_arcface_torch(context: CheckContext) -> Iterator[Row]:
    """Twenty steps or more of arcface_torch's own loop. Raises Skipped without a checkout."""
    if not context.checkout:
        raise Skipped("give --arcface-torch DIR, a checkout of InsightFace's arcface_torch")
    path = recipes_folder() / RECIPE
    images = context.sizes.identities * context.sizes.shots
    epochs = math.ceil(STEPS / (images // 8))
    run = context.scratch / "runs" / "host"
    network = context.sizes.speed_networks[0][0]
    keys = [f"device={context.device.type}", f"network={network}", f"num_epoch={epochs}", "frequent=1", f"output={run}"]
    keys += ["milestones=()", "resume=False"]
    aird(context, ["-m", "aird_plugin", "train"], reduced_recipe(path, context, *keys), path, "--arcface-torch", context.checkout)
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    finite = len(losses) >= STEPS and all(map(math.isfinite, losses))
    figure = f"{len(losses)} steps logged, loss {losses[0]:.2f} to {losses[-1]:.2f}" if losses else "no step logged"
    yield Row("inside arcface_torch", OK if finite else FAILED, figure, f"{STEPS} finite steps")
    yield upstream_speed(context)


def upstream_speed(context: CheckContext) -> Row:
    """Images/s of arcface_torch's loop and reader with the teacher in every step, over the second half of the logged steps."""
    network, batch, options = context.sizes.speed_networks[0]
    run = context.scratch / "runs" / "upstream"
    path = recipes_folder() / RECIPE
    keys = (f"network={network}", f"batch_size={batch}", "reader=upstream", f"output={run}", "frequent=1", "num_epoch=3")
    recipe = speed_recipe(context, "AIRD from the bank", *keys, *options, "resume=False")
    aird(context, ["-m", "aird_plugin", "train"], recipe, path, "--arcface-torch", context.checkout or "")
    speeds = [json.loads(line)["samples_per_s"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    late = speeds[len(speeds) // 2 :]
    figure = f"{statistics.median(late):,.0f} images/s over {len(late)} steps"
    return Row(f"{network}, AIRD in arcface_torch's loop with its reader and the teacher, batch {batch}", NOTE, figure)
