"""`zoo_allsizes` for a GPU: larger batches in bf16, eight views of each image and 20 epochs. It has not been run on a GPU yet.

torchrun train.py recipes/zoo/zoo_allsizes_gpu.py teacher=~/.insightface/models/buffalo_l/w600k_r50.onnx rec=my_faces
"""

from aird_plugin.recipe import base

config = base(__file__, "zoo_allsizes")
config.views = 8
config.bank = "runs/bank/zoo_gpu"
config.batch_size = 256
config.lr = 6e-4
config.bf16 = True
config.num_epoch = 20
config.num_workers = 4
config.output = "runs/zoo_allsizes_gpu"
