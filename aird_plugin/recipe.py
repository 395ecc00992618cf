"""What a recipe file imports: `base`, `data_path`, `drop_terms`."""

from aird_plugin.config.recipe_file import base, data_path, drop_terms

__all__ = ["base", "data_path", "drop_terms"]
