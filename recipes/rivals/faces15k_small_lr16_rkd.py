"""Rival: RKD, distances and angles, with F-SKD's weight for faces: 40 * (distance + 2 * angle)."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.rkd = "aird_plugin.losses.rkd:RKD"
config.rkd_weight = 40.0
config.rkd_distance = 1.0
config.rkd_angle = 2.0
config.output = "runs/faces15k_small_lr16_rkd"
