"""Teach small networks to recognise tiny faces, by distillation from an InsightFace model, and recognise them in frames.

Importing this package starts nothing; the work begins with `train.py` or the `aird` command, or with the names of `PUBLIC`
(docs/api.md).
"""

import importlib
from typing import Any

__version__ = "1.0.0"

# Name -> the module that is imported when the name is first used; where it has another name there, that follows a colon.
PUBLIC = {
    "TinyFaceAnalysis": "aird_plugin.recognition.analysis",
    "Gallery": "aird_plugin.recognition.gallery",
    "load_model": "aird_plugin.models.load",
    "load_teacher": "aird_plugin.models.load",
    "build": "aird_plugin.models",
    "FaceBN": "aird_plugin.models.facebn",
    "low_faces": "aird_plugin.data.lowres",
    "downsample": "aird_plugin.data.degradation",
    "read_pairs": "aird_plugin.data.pairs",
    "RecordReader": "aird_plugin.data.recordio",
    "embed": "aird_plugin.evaluation.embed",
    "evaluate": "aird_plugin.evaluation.pair_evaluator",
    "PairEvaluator": "aird_plugin.evaluation.pair_evaluator",
    "verify": "aird_plugin.evaluation.verification",
    "instance_loss": "aird_plugin.losses.instance",
    "RelationLoss": "aird_plugin.losses.relation",
    "load_recipe": "aird_plugin.config.recipe:load",
    "train": "aird_plugin.training.loop",
}


def __getattr__(name: str) -> Any:
    """A public name, imported on first use."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), there or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
