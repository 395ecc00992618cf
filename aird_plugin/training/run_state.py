"""The state in a checkpoint: of the embedded loop, of arcface_torch, and of the training of a prior."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from aird_plugin.config.run_section import RunConfig
from aird_plugin.training import checkpoint


class Stateful(Protocol):
    """A module, an optimizer, a scaler: any object with a state dict."""

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore a snapshot."""


class Absent:
    """A part that this training loop does not have."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state saved by the other loop."""


ABSENT = Absent()


@dataclass(frozen=True)
class CenterShard:
    """This rank's class centers (rows `shard` of all) and their optimizer."""

    weight: torch.Tensor
    shard: slice
    optimizer: Stateful


@dataclass(frozen=True)
class RunState:
    """Named parts that are the same on every rank, and this rank's class centers, which are not.

    parts: name in the checkpoint -> object saved under it. metadata: that of recipe.json, saved beside them. optional: parts
    whose saved state may be empty, because the other loop has none; they keep their state.
    """

    parts: Mapping[str, Stateful]
    metadata: dict
    centers: CenterShard | None = None
    optional: frozenset[str] = frozenset({"scaler"})

    def state_dict(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (the parts that all ranks share, this rank's class centers)."""
        shared = {name: part.state_dict() for name, part in self.parts.items()} | {"facts": json.dumps(self.metadata)}
        if self.centers is None:
            return shared, {}
        return shared, {"weight": self.centers.weight.detach(), "optimizer": self.centers.optimizer.state_dict()}

    def load_state_dict(self, shared: dict[str, Any], heads: list[dict[str, Any]]) -> None:
        """Restore it. heads: the saved class centers of all ranks, of which this rank takes its shard."""
        for name, part in self.parts.items():
            saved = shared.get(name, {})
            if saved or name not in self.optional:
                part.load_state_dict(saved)
        if self.centers is not None:
            head = checkpoint.cut_head(heads, self.centers.shard)
            with torch.no_grad():
                self.centers.weight.copy_(head["weight"])
            self.centers.optimizer.load_state_dict(head["optimizer"])

    def save(self, run: RunConfig, step: int) -> None:
        """Write a checkpoint of this step. Every rank calls it."""
        checkpoint.save(Path(run.checkpoints), step, *self.state_dict())

    def resume(self, run: RunConfig) -> int:
        """Load the newest checkpoint and return the step to continue from; 0 for a fresh run, and where resume=False."""
        found = checkpoint.load_latest(Path(run.checkpoints)) if run.resume else None
        if found is None:
            return 0
        self.load_state_dict(*found)
        return found[0]["step"]
