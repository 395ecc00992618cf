"""Embeddings -> numbers that someone will quote."""
