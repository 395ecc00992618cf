"""Bridge Distillation (arXiv 2409.11786), a reading: CASIA-WebFace, ResNet50 teacher, a student of 0.21 M parameters, 16 px.

    torchrun train.py recipes/bridge_tiny_lr16.py

Published, LFW at 16 px, LR-LR / LR-HR: 85.88/71.30 (AIRD's table II). Data, teacher and schedule are aird_r18_lr16's; the paper's
own layers, weights and schedule were not to be had. Its features are "compact": 128 numbers here, a quarter of the teacher's, for
a student whose last layer would otherwise be most of it. The teacher as it is cannot be compared with those, so that LR-HR is not
asked; adapted_width=0 keeps the teacher's width and asks it.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.adapted = "aird_plugin.losses.adapted:Adapted"
config.adapted_weight = 4.0
config.adapted_width = 128
config.identity_weight = 0.1
config.network = "native16_0.21m"
config.embedding_size = 0
config.output = "runs/bridge_tiny_lr16"
