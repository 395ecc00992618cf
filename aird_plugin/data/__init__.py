"""Read, degrade and batch face images: records, pairs, the reference resize, views, the bank."""
