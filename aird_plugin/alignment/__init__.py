"""Photos in, aligned crops out: who finds the five points, which face counts, what was done is written down."""
