"""Files -> faces: records, pairs, the one resize, views, the bank."""
