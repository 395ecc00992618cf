"""The best small student: 1 M parameters on 16 px images, taught at 16 px by a strong recogniser's own student.

    aird train recipes/zoo/zoo_lr16.py teacher=~/.insightface/models/buffalo_s/w600k_mbf.onnx rec=my_faces
    aird train recipes/best_native16_1m.py rec=my_faces

The first run makes a network that embeds a 16 px image nearly as its file embeds the original; the second one copies that network
into a small one. A small student cannot follow the embedding of the original, which depends on detail that its image does not
show (docs/benchmarks/zoo.md); what the first student makes of the 16 px image itself, it can. Most of what it learns it learns
from `blends`: faces mixed from two of the training images, which the first student embeds too. They have no identity, so labels
are not used. The bank has ten rows for each image; a training set with many identities does with fewer blends.
Losses: 8 cosine + KL over 4,096 images of the bank, as in `zoo_nolabels`.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "zoo_lr16")

# data: flips, and nine blends of each image with a random one
config.labels = False
config.blends = 9
config.bank = "runs/bank/best_native16"

# networks
config.network = "native16_1m_gdc"
config.teacher = "runs/zoo_lr16"
config.teacher_px = 16

# 8 cosine + KL over images of the bank
drop_terms(config, "iid")
config.terms.akl = "aird_plugin.losses.anchor_kl:AnchorKL"
config.akl_weight = 1.0
config.akl_scale = 20.0

# schedule
config.optimizer = "sgd"
config.batch_size = 96
config.lr = 0.1
config.weight_decay = 5e-4
config.num_epoch = 6
config.warmup_epoch = 0.5
config.output = "runs/best_native16_1m"
