"""Rival: HORKD, an interpretation: embeddings, pairs, triples and class centers; the paper's weights are unknown."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.horkd = "aird_plugin.losses.horkd:HORKD"
config.output = "runs/faces15k_small_lr16_horkd"
