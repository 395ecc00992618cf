"""From a frame to names: detection, one recogniser per face size, galleries, tracks. The code that users run."""
