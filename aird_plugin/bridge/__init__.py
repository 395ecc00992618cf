"""The other host: arcface_torch's own, unmodified train_v2.py."""
