"""Rival: Bridge Distillation (arXiv 2409.11786), an interpretation (losses/bridge_distillation.py).

Step 1 learns a projection of the teacher on the training images; step 2 is regression to the projected teacher with a small
identity weight. The weight of 4 on the squared distance equals 8 on 1 - cos: the only difference from faces15k_small_lr16_cosine
is the teacher. The projected embeddings keep the teacher's width and stay close to its own, so in LR-HR the unprojected teacher
embeds the HR image.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.adapted = "aird_plugin.losses.bridge_distillation:BridgeDistillation"
config.adapted_weight = 4.0
config.identity_weight = 0.1
config.output = "runs/faces15k_small_lr16_bridge"
