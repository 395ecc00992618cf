"""The bank: the frozen teacher's outputs and the student's LR images, computed once and mapped from disk."""
