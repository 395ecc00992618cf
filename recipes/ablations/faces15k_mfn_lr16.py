"""AIRD with cosine regression for the teacher's own architecture, initialised from the teacher: tens of minutes on a CPU.

    python train.py recipes/ablations/faces15k_mfn_lr16.py

The input is the LR image upsampled to 112 px. The network also takes 112 px images, so it can embed both images of an LR-HR pair.
"""

from aird_plugin.recipe import base, data_path

config = base(__file__, "faces15k_small_lr16_align")
config.network = "mfn"
config.student_init = data_path("teacher", "mobilefacenet_casia.pt")
config.batch_size = 64
config.lr = 0.03
config.num_epoch = 5
config.warmup_epoch = 0.25
config.save_steps = 40
config.compile = True
config.output = "runs/faces15k_mfn_lr16"
