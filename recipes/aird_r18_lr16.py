"""AIRD (arXiv 2409.02049) in its own setting: CASIA-WebFace, ResNet50 teacher, ResNet18 student, 16 px.

    torchrun train.py recipes/aird_r18_lr16.py

Requires CASIA-WebFace as RecordIO (InsightFace's "CASIA-Webface" package) and an arcface_torch R50, both under $AIRD_DATA. Batch
size and learning rates are the paper's; the values it does not state (35 epochs, SGD 0.9, weight decay 5e-4, a gradient norm of
at most 5, s=64, m=0.5, flips, bf16) are this project's choice. FaceBN's gamma of 0.1 is the paper's.

RID is its mutual variant, the relation of an image to the others as a distribution, which gains where the published form does not
(docs/aird.md); `ablations/aird_r18_lr16_published.py` has RID as published.
"""

from easydict import EasyDict as edict

from aird_plugin.recipe import data_path

config = edict()

# data
config.rec = data_path("faces_webface_112x112")
config.num_classes = 10572
config.num_image = 0
config.px = 16
config.views = 2
config.bank = "runs/bank/casia_r50"
config.num_workers = 2

# networks
config.network = "r18"
config.embedding_size = 512
config.teacher = data_path("teacher", "casia_r50.pt")

# class centers
config.margin_list = (1.0, 0.5, 0.0)
config.margin_scale = 64.0
config.sample_rate = 1.0
config.head_init = "teacher"

# IID + 8 RID as mutual distributions + identity
config.terms = edict(
    iid="aird_plugin.losses.instance:IID",
    rid="aird_plugin.losses.relation:RID",
)
config.iid_weight = 1.0
config.iid_scale = 16.0
config.rid_contrast = "mutual"
config.rid_weight = 8.0
config.rid_temperature = 0.1
config.rid_negatives = 256

# schedule
config.optimizer = "sgd"
config.batch_size = 96
config.lr = 0.05
config.momentum = 0.9
config.weight_decay = 5e-4
config.num_epoch = 35
config.schedule = "step"
config.milestones = (21, 28, 32)
config.bf16 = True

# tests
config.val_targets = (data_path("faces_webface_112x112", "lfw.bin"), data_path("faces_webface_112x112", "agedb_30.bin"))
config.verbose = 5150
config.facebn = "stateless"
config.keep = 0.1
config.output = "runs/aird_r18_lr16"
