"""Frozen batch norms merged into the convolutions before them: `fold_norms`."""

import copy
from typing import cast

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fcn_tutorial.surgery.tracing import follow, meta_copy, replace_module


def fold_norms(module: nn.Module) -> nn.Module:
    """A copy of `module` with each frozen Conv2d + BatchNorm2d pair merged into one Conv2d.

    The statistics and the affine of the norm go into the weight and bias of the convolution, which
    keeps its name; the norm becomes nn.Identity. It is for trunks whose norms stay frozen: in
    training mode the copy still normalises by the stored statistics. A norm stays where it does not
    follow a convolution directly, where either is used twice, and where it keeps no running
    statistics.

    Args:
        module: is not changed.

    Returns:
        A copy whose output in evaluation mode is the same up to rounding, with fewer passes over
        memory.

    Raises:
        ValueError: where torch.fx cannot follow the module.

    ::

        >>> from torch import nn
        >>> fold_norms(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)))
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
        )
    """
    folded = copy.deepcopy(module)
    for conv_name, norm_name in _norms_after_convolutions(module):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        with torch.no_grad():
            merged = fuse_conv_bn_eval(conv.eval(), norm.eval())
        assert merged.bias is not None
        merged.bias.requires_grad_(merged.weight.requires_grad)
        replace_module(folded, conv_name, merged.train(module.get_submodule(conv_name).training))
        replace_module(folded, norm_name, nn.Identity())
    return folded


def _norms_after_convolutions(module: nn.Module) -> list[tuple[str, str]]:
    """Names of each Conv2d and of the BatchNorm2d that alone reads its output."""
    graph_module = follow(meta_copy(module))
    called = [n for n in graph_module.graph.nodes if n.op == "call_module"]
    calls = [n.target for n in called]
    pairs: list[tuple[str, str]] = []
    for node in called:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in called or len(source.users) > 1:
            continue
        if calls.count(node.target) > 1 or calls.count(source.target) > 1:
            continue
        conv_name, norm_name = cast(str, source.target), cast(str, node.target)
        norm = graph_module.get_submodule(norm_name)
        frozen = isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
        if frozen and isinstance(graph_module.get_submodule(conv_name), nn.Conv2d):
            pairs.append((conv_name, norm_name))
    return pairs
