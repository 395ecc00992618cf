"""Any recognition .onnx as the student of itself at all sizes, trained on images without identities.

    torchrun train.py recipes/zoo/zoo_nolabels.py teacher=~/.insightface/models/buffalo_s/w600k_mbf.onnx rec=my_crops
    aird export runs/zoo_nolabels --out w600k_mbf_small

`zoo_allsizes` with 4,096 images of the bank in the place of the class centers. `rec` is a folder of 112 px crops, such as what
`aird align` writes, with any subfolders; a labelled set works too, and its labels are not used.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "zoo_allsizes")
config.labels = False
drop_terms(config, "iid")
config.terms.akl = "aird_plugin.losses.anchor_kl:AnchorKL"
config.akl_weight = 1.0
config.akl_scale = 20.0
config.output = "runs/zoo_nolabels"
