"""The `aird` command: one file per verb."""
