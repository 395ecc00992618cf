"""Verification and identification: embeddings, figures, significance tests."""
