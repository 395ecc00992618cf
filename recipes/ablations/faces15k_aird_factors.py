"""The base of the ablation by factors: IID, the mutual variant of RID, and an identity loss of weight 1 in every run.

    python tools/bench_methods.py runs/factors --group factors --px 16 --json runs/factors.json
    python tools/bench_methods.py runs/factors02 --group factors --px 16 --seeds 0 1 --set network=native16_0.2m

Each run of the grid is this recipe with overrides (tools/lib/aird_factors.py): centers="trained" or "frozen", and the terms. The
`_align`, `_cosine` and `_bridge` recipes differ from their neighbours in the identity weight (0.1) besides; the grid does not.
"""

from aird_plugin.recipe import base, data_path

config = base(__file__, "faces15k_small_lr16")
config.identity_weight = 1.0
config.rid_contrast = "mutual"
config.rid_weight = 8.0
config.rid_temperature = 0.1
config.val_targets = (
    *config.val_targets,
    data_path("cfp", "cfp_ff_clean.bin"),
    data_path("cfp", "cfp_fp_clean.bin"),
)
config.output = "runs/faces15k_aird_factors"
