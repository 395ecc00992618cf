"""Teach small networks to recognise tiny faces, by distillation from an InsightFace model, and recognise them in frames.

The names of `API` are offered here and imported at their first use (docs/api.md). Importing this package starts nothing; the work
begins with `train.py` or the `aird` command.
"""

import importlib

__version__ = "1.0.0"

# Name -> the module that defines it, and its name there.
API = {
    "FaceBN": ("aird_plugin.models.facebn", "FaceBN"),
    "Gallery": ("aird_plugin.recognition.gallery", "Gallery"),
    "PairEvaluator": ("aird_plugin.evaluation.pair_evaluator", "PairEvaluator"),
    "RecordReader": ("aird_plugin.data.recordio", "RecordReader"),
    "RelationLoss": ("aird_plugin.losses.relation", "RelationLoss"),
    "TinyFaceAnalysis": ("aird_plugin.recognition.analysis", "TinyFaceAnalysis"),
    "build": ("aird_plugin.models", "build"),
    "downsample": ("aird_plugin.data.degradation", "downsample"),
    "embed": ("aird_plugin.evaluation.embed", "embed"),
    "evaluate": ("aird_plugin.evaluation.pair_evaluator", "evaluate"),
    "instance_loss": ("aird_plugin.losses.instance", "instance_loss"),
    "load_model": ("aird_plugin.models.load", "load_model"),
    "load_recipe": ("aird_plugin.config.recipe", "load"),
    "load_teacher": ("aird_plugin.models.load", "load_teacher"),
    "low_faces": ("aird_plugin.data.lowres", "low_faces"),
    "read_pairs": ("aird_plugin.data.pairs", "read_pairs"),
    "train": ("aird_plugin.training.loop", "train"),
    "verify": ("aird_plugin.evaluation.verification", "verify"),
}
__all__ = ["API", "__version__", *API]  # noqa: F822, the names come from __getattr__


def __getattr__(name: str):
    """Import a name of the API. AttributeError for another one."""
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = API[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *API})
