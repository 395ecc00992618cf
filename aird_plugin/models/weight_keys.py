"""The network's entries among the keys of a checkpoint."""

from typing import Any

from torch import Tensor

from aird_plugin.models.registry import detect, is_native_state

# DataParallel and torch.compile prepend these to every key.
PREFIXES = ("module.", "_orig_mod.")
# Lightning modules and wrappers prepend these to the network's keys; keys without them are of a head or a loss.
OUTER_PREFIXES = ("model.", "backbone.", "net.")


def network_keys(state: dict[str, Any]) -> dict[str, Any]:
    """The network's entries of a state dict, without PREFIXES.

    An outer prefix is removed where all keys have it, or where the keys with it are a known network's: a Lightning checkpoint
    also holds `head.kernel`.
    """
    state = {strip(key): value for key, value in state.items()}
    for prefix in OUTER_PREFIXES:
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if inner and (len(inner) == len(state) or has_network(inner)):
            return network_keys(inner)
    return state


def strip(key: str) -> str:
    """The key without PREFIXES."""
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    return key


def has_network(state: dict[str, Any]) -> bool:
    """Whether the tensors are a known network's, perhaps under further prefixes."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    inner = network_keys(tensors) if tensors else tensors
    return detect(inner) is not None or is_native_state(inner)
