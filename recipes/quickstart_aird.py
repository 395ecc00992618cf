"""Quickstart, step 3: AIRD as published, the identity loss with IID and RID. The same 16 px student, taught by step 1's teacher.

    python train.py recipes/quickstart_aird.py
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "quickstart")
drop_terms(config, "align")
config.identity_weight = 1.0
config.output = "runs/quickstart_aird"
