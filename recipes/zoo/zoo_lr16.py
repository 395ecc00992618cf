"""Any recognition .onnx as the student of itself at 16 px: the same file again, better at tiny faces.

    torchrun train.py recipes/zoo/zoo_lr16.py teacher=~/.insightface/models/buffalo_s/w600k_mbf.onnx rec=my_faces
    aird export runs/zoo_lr16 --out w600k_mbf_lr16

The student is the teacher's own graph with its weights; it learns to give its LR images the embeddings that the untouched file
gives their HR originals (cosine), and the same similarities to the identities of the training set (KL at scale 20 over the class
centers of the bank, which stay as they are). `student_init=OTHER.onnx` starts from another file of the same width.
Defaults: faces15k and EdgeFace-XS in $AIRD_DATA.
"""

from easydict import EasyDict as edict

from aird_plugin.recipe import data_path

config = edict()

# data
config.rec = data_path("faces15k")
config.px = 16
config.views = 2
config.bank = "runs/bank/zoo"

# networks
config.network = "onnx"
config.teacher = data_path("teacher", "edgeface_xs.onnx")

# class centers: the teacher's, frozen
config.head_init = "teacher"
config.centers = "frozen"

# 8 cosine + KL over the class centers
config.terms = edict(
    align="aird_plugin.losses.cosine:CosineRegression",
    iid="aird_plugin.losses.instance:IID",
)
config.align_weight = 8.0
config.iid_weight = 1.0
config.iid_scale = 20.0
config.identity_weight = 0.0

# schedule
config.optimizer = "adamw"
config.batch_size = 64
config.lr = 3e-4
config.weight_decay = 0.01
config.num_epoch = 5
config.warmup_epoch = 0.25
config.schedule = "cosine"

# tests
config.val_targets = (data_path("lfw", "lfw_split.bin"), data_path("lfw", "lfw_folds9_10.bin"))
config.frequent = 20
config.output = "runs/zoo_lr16"
