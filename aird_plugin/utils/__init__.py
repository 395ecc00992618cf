"""What every other folder may use: files, processes, progress, provenance."""
