"""What can be silently wrong with faces, labels, teacher and tests, and how a run would notice."""
