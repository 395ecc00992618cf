"""Rival: Bridge Distillation (arXiv 2409.11786), a reading (losses/adapted.py).

The teacher is adapted to the faces at hand first; then regression to the adapted teacher, and a little identity loss. Its weight
of 4 on the squared distance is the cosine rival's 8 on 1 - cos: what differs from faces15k_small_lr16_cosine is the teacher.
The adapted embeddings have the teacher's width and stay near its own, so that in LR-HR the teacher as it is serves the high side.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.adapted = "aird_plugin.losses.adapted:Adapted"
config.adapted_weight = 4.0
config.identity_weight = 0.1
config.output = "runs/faces15k_small_lr16_bridge"
