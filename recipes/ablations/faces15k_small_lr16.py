"""AIRD as published, in minutes on a CPU: 15,553 images, a MobileFaceNet teacher, a native 16 px student of 1 M parameters.

    python train.py recipes/ablations/faces15k_small_lr16.py

The student's input is the 16 px image itself, so the teacher embeds the HR image of an LR-HR pair. Images and teacher are read
from $AIRD_DATA. Eight views (flip times four jitters, each with its own teacher embedding) reduce overfitting to 15,000 images.
"""

from easydict import EasyDict as edict

from aird_plugin.recipe import data_path

config = edict()

# data
config.rec = data_path("faces15k")
config.num_classes = 5099
config.num_image = 15553
config.px = 16
config.views = 8
config.bank = "runs/bank/faces15k_mfn"

# networks
config.network = "native16_1m"
config.teacher = data_path("teacher", "mobilefacenet_casia.onnx")

# class centers
config.margin_list = (1.0, 0.3, 0.0)
config.margin_scale = 32.0
config.head_init = "teacher"

# IID + 2 RID + identity
config.terms = edict(
    iid="aird_plugin.losses.instance:IID",
    rid="aird_plugin.losses.relation:RID",
)
config.iid_weight = 1.0
config.iid_scale = 16.0
config.rid_weight = 2.0
config.rid_negatives = 64

# schedule
config.optimizer = "sgd"
config.batch_size = 96
config.lr = 0.1
config.momentum = 0.9
config.weight_decay = 5e-4
config.num_epoch = 10
config.warmup_epoch = 0.5
config.schedule = "cosine"

# tests
config.val_targets = (data_path("lfw", "lfw_split.bin"), data_path("lfw", "lfw_folds9_10.bin"))
config.frequent = 20
config.output = "runs/faces15k_small_lr16"
