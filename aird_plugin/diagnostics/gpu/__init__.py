"""Checks of a CUDA machine: training, inference and speed against the CPU, on synthetic faces; `aird doctor --gpu` runs them.

check          rows, and a check whose exception becomes a row
processes      a check in a process of its own, with a time limit
synthetic      synthetic images, teachers of random weights, and recipes reduced to them
steps          one step of every recipe
images         resize and degradations
runs           resuming, the device of the bank, torch.compile, ranks
inference      FaceBN, evaluation, exported files
arcface_torch  training inside an arcface_torch checkout
speed          images per second, utilisation, memory, profile
fake           the forward of every recipe under PyTorch's fake tensors
suite          all of them, and the table

Each compares a device with the CPU and takes the device as an argument; with the CPU as device it compares the CPU with itself.
"""
