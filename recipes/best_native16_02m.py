"""`best_native16_1m` with 0.2 M parameters: about four times as fast, on the same bank."""

from aird_plugin.recipe import base

config = base(__file__, "best_native16_1m")
config.network = "native16_0.2m_gdc"
config.output = "runs/best_native16_02m"
