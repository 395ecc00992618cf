"""Bridge Distillation (arXiv 2409.11786), an interpretation: CASIA-WebFace, ResNet50 teacher, a 0.21 M student, 16 px.

    torchrun train.py recipes/rivals/bridge_tiny_lr16.py

Published, LFW at 16 px, LR-LR / LR-HR: 85.88/71.30 (AIRD's table II). Data, teacher and schedule are aird_r18_lr16's; the paper's
own layers, weights and schedule were not available. Its features are "compact": 128 dimensions here, a quarter of the teacher's,
for a student whose last layer would otherwise hold most of its parameters. The unprojected teacher cannot be compared with them,
so LR-HR is not evaluated; adapted_width=0 keeps the teacher's width and evaluates it.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.adapted = "aird_plugin.losses.bridge_distillation:BridgeDistillation"
config.adapted_weight = 4.0
config.adapted_width = 128
config.identity_weight = 0.1
config.network = "native16_0.21m"
config.embedding_size = 0
config.output = "runs/bridge_tiny_lr16"
