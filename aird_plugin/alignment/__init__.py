"""Photos -> aligned 112 px crops, made as InsightFace makes them."""
