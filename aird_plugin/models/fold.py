"""Fold BatchNorms into the preceding convolutions: the same function with fewer passes over memory."""

import copy
from collections.abc import Sequence

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorms(net: nn.Module, stages: Sequence[nn.Module] = ()) -> fx.GraphModule:
    """Copy a network in eval mode and fold each BatchNorm2d into the convolution that is its only input.

    The copy computes the embeddings of `net` up to rounding and shares no tensors with it. It is for inference only: it has no
    statistics to train or adapt. BatchNorms before a convolution (the first one in an iresnet block) are kept, because they do
    not commute with zero padding.
    stages: modules of `net`; if given, the copy returns (embeddings, tuple of the output of each stage).
    Raises ValueError for a network in training mode.
    """
    if net.training:
        raise ValueError("only a network in eval mode can be folded, this one is in training mode; call net.eval() first")
    folded = fx.symbolic_trace(copy.deepcopy(net))
    if stages:
        _add_outputs(folded, [name for stage in stages for name, module in net.named_modules() if module is stage])
    modules = dict(folded.named_modules())
    for node in list(folded.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        conv_node = node.args[0]
        if conv_node.op != "call_module" or len(conv_node.users) > 1:
            continue
        conv = modules[conv_node.target]
        if isinstance(conv, nn.Conv2d):
            folded.set_submodule(conv_node.target, fuse_conv_bn_eval(conv, modules[node.target]))
            node.replace_all_uses_with(conv_node)
            folded.graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded


def _add_outputs(traced: fx.GraphModule, names: Sequence[str]) -> None:
    """Add the output of each named module (its last operation) to the outputs of the graph."""
    *nodes, output = traced.graph.nodes
    last = {name: node for node in nodes for name in node.meta.get("nn_module_stack", ())}
    output.update_arg(0, (output.args[0], tuple(last[name] for name in names)))
