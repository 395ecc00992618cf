"""Any recognition .onnx as the student of itself at all sizes and under all cameras: one file, better at every small face.

    torchrun train.py recipes/zoo/zoo_allsizes.py teacher=~/.insightface/models/buffalo_s/w600k_mbf.onnx rec=my_faces
    aird export runs/zoo_allsizes --out w600k_mbf_small

Each image of a step has a size of its own, 8 to 64 px log-uniformly, and a camera of its own (`degradation`); an eighth of the
images stays untouched, which keeps the file as good as it was on large faces. The bank caches the 112 px images (19 KB each).
"""

from aird_plugin.recipe import base

config = base(__file__, "zoo_lr16")
config.px_range = (8, 64)
config.untouched = 0.125
config.degradation = {"bicubic": 3, "insightface-warp": 6, "blur": 2, "noise": 1, "jpeg": 2, "realworld": 3}
# A distance in place of 1 - cos beyond 0.2, so that 8 px images do not outweigh large ones, whose accuracy it keeps.
config.align_huber = 0.2
config.num_epoch = 6
config.output = "runs/zoo_allsizes"
