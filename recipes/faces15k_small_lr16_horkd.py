"""Rival: HORKD as we read it: embeddings, pairs, triples and class centres; its paper's weights are not known."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.horkd = "aird_plugin.losses.horkd:HybridOrder"
config.output = "runs/faces15k_small_lr16_horkd"
