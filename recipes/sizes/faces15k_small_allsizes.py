"""One model for all sizes: the size of each image is sampled in every step, 8 to 64 px, log-uniformly.

Its single-size baselines are `faces15k_small32_lr16`, `_lr32` and `_lr64`: the same network, terms and budget. To compare:

    aird evaluate runs/faces15k_small_allsizes --px 8 12 16 24 32 48 64 --pairs $AIRD_DATA/lfw/lfw_split.bin
        --protocol lr-lr lr-hr --teacher $AIRD_DATA/teacher/mobilefacenet_casia.onnx

Images larger than 32 px are downsampled to the student's 32. The bank caches the 112 px images: 2.3 GB on disk in addition to the
teacher cache. `margin_small=0.2` gives the smallest images a smaller margin than the largest ones' 0.3. `px` is used by the
verification only.
"""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.network = "native32_1m"
config.px_range = (8, 64)
config.output = "runs/faces15k_small_allsizes"
