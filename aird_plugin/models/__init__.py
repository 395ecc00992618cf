"""Networks that map images to embeddings, their weights, the teacher, the head and FaceBN."""

from aird_plugin.models.registry import NETWORKS, build, nearest_name

__all__ = ["NETWORKS", "build", "nearest_name"]
