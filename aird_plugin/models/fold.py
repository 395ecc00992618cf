"""BatchNorms folded into the convolutions before them: the same function, fewer passes over memory."""

import copy
from collections.abc import Sequence

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorms(net: nn.Module, stages: Sequence[nn.Module] = ()) -> fx.GraphModule:
    """A copy of a network in eval mode in which each BatchNorm2d fed by one convolution alone is part of it.

    The copy embeds as `net` does up to rounding and shares nothing with it. For inference only: it has no
    statistics left to train or adapt. BatchNorms that stand before a convolution (iresnet's first in a
    block) stay, since zero padding does not commute with them.
    stages: modules of `net`; where there are any, the copy gives (embeddings, tuple of what each of them puts out).
    Raises ValueError for a network in training mode.
    """
    if net.training:
        raise ValueError(
            "only a network in eval mode can be folded: training-mode BatchNorm is another function"
        )
    folded = fx.symbolic_trace(copy.deepcopy(net))
    if stages:
        _put_out(folded, [name for stage in stages for name, module in net.named_modules() if module is stage])
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


def _put_out(traced: fx.GraphModule, names: Sequence[str]) -> None:
    """Let the graph give, beside its own output, that of each named module: the last operation inside it."""
    *nodes, output = traced.graph.nodes
    last = {name: node for node in nodes for name in node.meta.get("nn_module_stack", ())}
    output.update_arg(0, (output.args[0], tuple(last[name] for name in names)))
