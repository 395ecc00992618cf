"""The teacher's own architecture on the low face grown back, starting from the teacher's weights: tens of minutes on a CPU.

    python train.py recipes/faces15k_mfn_lr16.py

It takes 112 px faces too, so one network can embed both sides of LR-HR. AIRD with the alignment term.
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
