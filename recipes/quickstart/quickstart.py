"""Quickstart, step 4: AIRD (mutual RID) + cosine regression, small identity weight; the same 16 px student and step 1's teacher.

python train.py recipes/quickstart/quickstart.py
"""

from easydict import EasyDict as edict

config = edict()

config.rec = "runs/quickstart/faces"
config.px = 16
config.views = 2
config.bank = "runs/quickstart/bank"

config.network = "native16_0.5m"
config.teacher = "runs/quickstart/quickstart_teacher/model.pt"
config.teacher_network = "native112_0.5m"
config.head_init = "teacher"
config.margin_list = (1.0, 0.0, 0.0)
config.margin_scale = 32.0

config.terms = edict(
    iid="aird_plugin.losses.instance:IID",
    rid="aird_plugin.losses.relation:RID",
    align="aird_plugin.losses.cosine:CosineRegression",
)
config.rid_negatives = 64
# The variant of RID that gains most (docs/aird.md).
config.rid_contrast = "mutual"
config.align_weight = 8.0
config.identity_weight = 0.1

config.batch_size = 32
config.lr = 0.1
config.num_epoch = 16
config.warmup_epoch = 1
config.schedule = "cosine"

config.frequent = 10
config.output = "runs/quickstart/quickstart"
