"""Rival: KD (arXiv 1503.02531) at temperature 4, times its square, on the head's own scale of 32.

FaceX-Zoo (weight 1) and F-SKD (s=32) take T=4 so. Both do it on logits that carry the margin; here neither network's do: the
margin shifts the true class alone, at T=4 by about one unit of logit, and says nothing that the teacher knows. 32 / 4 = 8 on the
cosine is twice as soft as IID's 16.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.kd = "aird_plugin.losses.instance:Instance"
config.kd_weight = 1.0
config.kd_scale = 32.0
config.kd_temperature = 4.0
config.output = "runs/faces15k_small_lr16_kd"
