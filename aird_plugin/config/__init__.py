"""A recipe file -> frozen, checked dataclasses."""
