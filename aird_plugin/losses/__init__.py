"""Tensors -> scalar. One method a file; nothing here imports anything but torch."""
