"""Rival: KD (arXiv 1503.02531) at temperature 4, times its square, with the head's scale of 32.

FaceX-Zoo (weight 1) and F-SKD (s=32) use T=4 in the same way. Both apply it to logits with the margin; here neither network's
logits have it: the margin shifts only the true class, at T=4 by about one logit, and carries no information from the teacher.
32 / 4 = 8 on the cosine is half of IID's scale of 16.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.kd = "aird_plugin.losses.instance:IID"
config.kd_weight = 1.0
config.kd_scale = 32.0
config.kd_temperature = 4.0
config.output = "runs/faces15k_small_lr16_kd"
