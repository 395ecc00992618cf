"""The best small student on LFW: 1 M parameters on 16 px images, taught at 16 px by a strong recogniser's own student.

    aird train recipes/zoo/zoo_lr16.py teacher=~/.insightface/models/buffalo_s/w600k_mbf.onnx rec=my_faces
    aird train recipes/best_native16_1m.py rec=my_faces

The first run makes a network that embeds a 16 px image nearly as its file embeds the original; the second one copies that network
into a small one. A small student cannot follow the embedding of the original, which depends on detail that its image does not
show (docs/benchmarks/zoo.md); what the first student makes of the 16 px image itself, it can.
Losses: 8 cosine + KL over the class centers of the bank, as in `zoo_lr16`. On CFP, `faces15k_small_lr16_adadistill` is better.
"""

from aird_plugin.recipe import base

config = base(__file__, "zoo_lr16")

# data: flips, and the affine and photometric jitter of views beyond the second
config.views = 4
config.bank = "runs/bank/best_native16"

# networks
config.network = "native16_1m"
config.teacher = "runs/zoo_lr16"
config.teacher_px = 16

# schedule
config.optimizer = "sgd"
config.batch_size = 96
config.lr = 0.1
config.weight_decay = 5e-4
config.num_epoch = 20
config.warmup_epoch = 0.5
config.output = "runs/best_native16_1m"
