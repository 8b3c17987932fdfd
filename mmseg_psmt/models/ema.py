"""Exponential moving average of a network."""

from typing import Dict, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..options import require_number


def _by_name(module: nn.Module) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
    return dict(module.named_parameters()), dict(module.named_buffers())


def _check_names(target: Dict[str, Tensor], source: Dict[str, Tensor]) -> None:
    alone = set(target) ^ set(source)
    if alone:
        raise ValueError(
            'target and source must have the same parameters and buffers, '
            f'these are in one of them only: {sorted(alone)[:5]}'
        )
    for name, tensor in target.items():
        other = source[name]
        if (tensor.shape, tensor.dtype) != (other.shape, other.dtype):
            raise ValueError(
                f'{name} is {tuple(tensor.shape)} {tensor.dtype} in the '
                f'target but {tuple(other.shape)} {other.dtype} in the '
                'source'
            )


@torch.no_grad()
def ema_update_(target: nn.Module, source: nn.Module, decay: float) -> None:
    """``target = decay * target + (1 - decay) * source``, in place.

    Floating-point buffers, such as BN statistics, are averaged like the
    parameters. Integer buffers are copied: an average of counters means
    nothing.

    Args:
        target (nn.Module): The averaged network.
        source (nn.Module): A network of the same parameters and buffers.
        decay (float): In [0, 1]; 0 copies ``source``.

    Raises:
        ValueError: If names, shapes or types differ, ``decay`` is out of
            range, or so near 1 that weights of their type never move.
    """
    require_number('decay', decay, 0, 1)
    averaged, buffers = _by_name(target)
    source_params, source_buffers = _by_name(source)
    _check_names({**averaged, **buffers}, {**source_params, **source_buffers})
    for name, tensor in averaged.items():
        if decay < 1 < decay + torch.finfo(tensor.dtype).eps:
            raise ValueError(
                f'{name} is {tensor.dtype}, in which an average with a decay '
                f'of {decay} never moves: keep weights in float32 and compute '
                "with less, as mmengine's AmpOptimWrapper(dtype='bfloat16') "
                'does'
            )
    for name, buffer in buffers.items():
        if buffer.is_floating_point():
            averaged[name] = buffer
        else:
            buffer.copy_(source_buffers[name])
    sources = {**source_params, **source_buffers}
    pairs = [
        (tensor, sources[name])
        for name, tensor in averaged.items()
        if tensor is not sources[name]
    ]  # a shared backbone
    if pairs and decay == 0:
        torch._foreach_copy_(*map(list, zip(*pairs)))  # NaN * 0 is no 0
    elif pairs:
        torch._foreach_lerp_(*map(list, zip(*pairs)), 1 - decay)
