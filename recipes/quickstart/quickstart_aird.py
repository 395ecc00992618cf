"""Quickstart, step 3: AIRD as published, identity loss with IID and RID; the same 16 px student and step 1's teacher.

python train.py recipes/quickstart/quickstart_aird.py
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "quickstart")
drop_terms(config, "align")
config.rid_contrast = "nce"
config.identity_weight = 1.0
config.output = "runs/quickstart/quickstart_aird"
