"""GDRD, stage two: the trunk of stage one is frozen; the embedding layers are trained with RID, IID and the identity loss.

The trained head is the student's own fc and BatchNorm, one linear map of the frozen 4x4 map. Ablations, as overrides:

    no prior, random frozen trunk    student_init=None
    no prior, nothing frozen         student_init=None freeze=None (faces15k_small_lr16.py itself)
    fine-tuned instead of frozen     freeze=None
    the recogniser's features        student_init=runs/faces15k_small_lr16_cosine/model.pt, instead of a generative stage one
"""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16")
config.student_init = "runs/faces15k_small_lr16_gdrd_stage1/model.pt"
config.freeze = "trunk"
config.output = "runs/faces15k_small_lr16_gdrd"
