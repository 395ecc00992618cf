"""Bridge Distillation's tiny student (0.21 M parameters in the paper) on the small real data set: minutes on a CPU.

python train.py recipes/rivals/faces15k_bridge_tiny_lr16.py
"""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_bridge")
config.network = "native16_0.2m"
config.output = "runs/faces15k_bridge_tiny_lr16"
