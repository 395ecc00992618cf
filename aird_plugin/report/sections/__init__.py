"""One section of the report per file: `section(data) -> Section` draws it and computes no embeddings."""
