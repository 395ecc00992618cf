"""GDRD, stage two at full size: the trunk of stage one is frozen; bn2, fc and the last BatchNorm are trained by AIRD's losses.

Ablations as in faces15k_small_lr16_gdrd.py.
"""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.student_init = "runs/gdrd_r18_lr16_stage1/model.pt"
config.freeze = "trunk"
config.output = "runs/gdrd_r18_lr16"
