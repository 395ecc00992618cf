"""Adaptation of a trained student to a user's cameras, without labels."""
