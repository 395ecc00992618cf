"""Teach small networks to recognise tiny faces, by distillation from an InsightFace model.

Importing this package starts nothing; the work begins with `train.py` or the `aird` command.
"""

__version__ = "1.0.0"
