"""Training inside arcface_torch: a recipe runs in the unmodified train_v2.py of a checkout."""
