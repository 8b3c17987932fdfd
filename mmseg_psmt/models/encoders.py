"""Backbones of mmseg, mmpretrain and timm: freezing, sizes, weights."""

import re
from contextlib import contextmanager
from typing import Any, Iterator, List

import torch.nn as nn
from torch import Tensor

from ..stack import before_loading

# Norms behind the taps of Swin and ConvNeXt, which a classifier has not.
_TAP_NORM = re.compile(r'norm\d+\.\w+')
_BLOCK = re.compile(r'.*?\.\d+\.|[^.]+')  # such as 'layers.3.'


def freeze_(segmentor: nn.Module, teachers: nn.ModuleList) -> None:
    """Let no gradient reach a backbone, and give it to the teachers."""
    segmentor.backbone.requires_grad_(False)
    for teacher in teachers:
        teacher.backbone = segmentor.backbone


@contextmanager
def once(module: nn.Module) -> Iterator[None]:
    """Within this context a module runs once for each input in a row.

    Args:
        module (nn.Module): What it returns is not changed by those who ask.
    """
    before = vars(module).get('forward')  # where somebody has set one
    forward, last = module.forward, [None, None]

    def remembered(images: Tensor) -> Any:
        if last[0] is not images:
            last[:] = images, forward(images)
        return last[1]

    module.forward = remembered
    try:
        yield
    finally:
        del module.forward  # that of the class is there again
        if before is not None:
            module.forward = before


def patch_size(backbone: nn.Module) -> int:
    """Pixels on the side of a patch of a plain transformer, 1 for others.

    Those with patches of 4 go on to merge them, and pad what is no multiple.
    """
    for name, module in backbone.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and 'patch_embed' in name
            and module.stride == module.kernel_size
        ):
            return module.stride[0] if module.stride[0] >= 8 else 1
    return 1


def checkpoint_of(backbone: nn.Module) -> str:
    """Where its pretrained weights come from; empty for none."""
    cfgs = getattr(backbone, 'init_cfg', None) or []
    for cfg in [cfgs] if isinstance(cfgs, dict) else cfgs:
        if cfg.get('checkpoint'):
            return cfg['checkpoint']
    return ''


@contextmanager
def must_fit(backbone: nn.Module) -> Iterator[None]:
    """Within this context weights that do not fit a backbone are an error.

    mmengine warns and goes on with random weights. Left to its warning are
    heads for other tasks and blocks that the backbone does not have, norms
    behind the taps, and up to a tenth of its weights that are not in the
    checkpoint or have another shape there, such as the offsets of deformable
    convolutions, or the stem for images of more channels.

    Args:
        backbone (nn.Module): Is given its weights in there, or none.

    Raises:
        ValueError: If many of its weights are not in the checkpoint or have
            another shape there, or some of the checkpoint have no place in
            the blocks of the backbone.
    """
    shapes: List[str] = []
    problems: List[str] = []

    def look(
        module: nn.Module, state_dict: dict, prefix: str, *args: Any
    ) -> None:
        shapes[:] = [
            name
            for name, value in module.state_dict().items()
            if prefix + name in state_dict
            and state_dict[prefix + name].shape != value.shape
        ]

    def judge(module: nn.Module, keys: Any) -> None:
        own = module.state_dict()
        blocks = {_BLOCK.match(name)[0] for name in own}
        few = len(own) / 10
        missing = [
            name
            for name in keys.missing_keys
            if name in own
            and own[name].is_floating_point()  # no counter or index
            and not _TAP_NORM.fullmatch(name)
        ]
        unused = [
            name
            for name in keys.unexpected_keys
            if _BLOCK.match(name)[0] in blocks
        ]
        problems[:] = [
            f'{len(names)} {what} ({", ".join(names[:3])}'
            f'{", ..." * (len(names) > 3)})'
            for names, what in (
                (missing, 'of its weights are not in the checkpoint'),
                (unused, 'weights of the checkpoint have no place in it'),
                (shapes, 'have another shape'),
            )
            if len(names) > (0 if names is unused else few)
        ]

    handles = (
        before_loading(backbone, look),
        backbone.register_load_state_dict_post_hook(judge),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if problems:
        raise ValueError(
            f'{checkpoint_of(backbone) or "The checkpoint"} does not fit '
            f'{type(backbone).__name__}: {"; ".join(problems)}. Use '
            'the options that the weights were trained with (DINOv2: '
            'layer_scale_init_value=1e-5), convert them '
            "(tools/model_converters), or name their prefix ('backbone.') in "
            'init_cfg'
        )
