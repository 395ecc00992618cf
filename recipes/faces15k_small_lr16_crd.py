"""Rival: CRD with its paper's weight, temperature and memories. 4096 rows a batch: of 15,553 faces 16384 would be all of them."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.crd = "aird_plugin.losses.crd:Contrast"
config.crd_weight = 0.8
config.crd_negatives = 4096
config.output = "runs/faces15k_small_lr16_crd"
