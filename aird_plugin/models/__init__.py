"""Networks: images in, embeddings out."""

from aird_plugin.models.registry import NETWORKS, build, nearest_name

__all__ = ["NETWORKS", "build", "nearest_name"]
