"""Quickstart, step 2: the baseline. The 16 px student trained on labels alone, without a teacher."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "quickstart")
drop_terms(config, "iid", "rid", "align")
config.teacher = None
config.head_init = "random"
config.embedding_size = 128
config.identity_weight = 1.0
config.output = "runs/quickstart/quickstart_scratch"
