"""Rival: AdaDistill (arXiv 2407.01332): class centers updated by the teacher's embeddings, and a margin softmax on them alone.

Margin 0.3 and scale 32, as in the other small recipes, for the authors' 0.45 and 64. The centers are initialised from the
teacher, also as there; the authors initialise them randomly and overwrite each with the first teacher embedding of its class.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.centers = "adaptive"
config.output = "runs/faces15k_small_lr16_adadistill"
