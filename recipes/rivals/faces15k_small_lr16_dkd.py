"""Rival: DKD (arXiv 2203.08679) with its alpha 1, beta 8, temperature 4; its warm-up of 20 of 240 epochs is scaled to 10."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.dkd = "aird_plugin.losses.instance:IID"
config.dkd_weight = 1.0
config.dkd_variant = "dkd"
config.dkd_scale = 32.0
config.dkd_alpha = 1.0
config.dkd_beta = 8.0
config.dkd_temperature = 4.0
config.dkd_warmup_epochs = config.num_epoch * 20 / 240
config.output = "runs/faces15k_small_lr16_dkd"
