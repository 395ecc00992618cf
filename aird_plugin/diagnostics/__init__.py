"""Checks of images, labels, teacher and test sets, printed by `aird doctor` and at the start of a run."""
