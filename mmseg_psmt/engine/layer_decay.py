"""Layer-wise learning rates for the student within PSMT."""

import re
from typing import Dict, List, Sequence, Tuple

import torch.nn as nn
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS

# A block of a backbone, with its stage if it has one: 'layers.3.',
# 'stages.1.blocks.2.', 'stages_1.blocks.2.', 'blocks.4.0.', 'layer2.1.'
_BLOCK = re.compile(
    r'(?:^|\.)(?:stage|layer|block)s?[._]?(\d+)\.'
    r'(?:(?:blocks\.|layers\.)?(\d+)\.)?'
)
_TOKENS = re.compile(r'(^|\.)(\w+_token|\w*pos_embed)$')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PSMTLayerDecayOptimizerConstructor(
    LearningRateDecayOptimizerConstructor
):
    """:class:`LearningRateDecayOptimizerConstructor` for the nets of PSMT.

    And for a plain segmentor, so that a supervised twin has the same rates.

    The parent finds the layer of a parameter by a name that begins with
    ``backbone``, and knows ConvNeXt, BEiT and MAE. Any other backbone, of
    mmseg, mmpretrain or timm, gets one layer for each block, see
    :func:`block_depths`, and no weight decay on tokens, embeddings of
    positions, norms and biases.

    ``paramwise_cfg`` is that of the parent: ``decay_rate``, ``decay_type``
    and ``num_layers``, which others count for themselves.
    """

    def add_params(
        self, params: List[dict], module: nn.Module, **kwargs
    ) -> None:
        nets = [getattr(module, 'segmentor', module)]
        if hasattr(module, 'teachers') and module.teachers.warming_up:
            nets += module.teachers
        for net in nets:
            kind = type(net.backbone).__name__
            if any(name in kind for name in ('ConvNeXt', 'BEiT', 'MAE')):
                super().add_params(params, net, **kwargs)
            else:
                params += self.groups(net)

    def groups(self, net: nn.Module) -> List[dict]:
        """Parameters of a segmentor by depth and weight decay.

        Raises:
            ValueError: If ``paramwise_cfg`` asks for stages, or for another
                number of layers than the backbone has.
        """
        kind = type(net.backbone).__name__
        cfg = self.paramwise_cfg
        if cfg.get('decay_type', 'layer_wise') != 'layer_wise':
            raise ValueError(
                f'paramwise_cfg.decay_type={cfg["decay_type"]!r} is for '
                f"ConvNeXt, not for {kind}: set it to 'layer_wise'"
            )
        depths, last = block_depths(
            [name for name, _ in net.backbone.named_parameters()]
        )
        if cfg.get('num_layers', last - 1) != last - 1:
            raise ValueError(
                f'paramwise_cfg.num_layers is {cfg["num_layers"]}, but {kind} '
                f'has {last - 1} blocks: leave it out'
            )
        groups: Dict[tuple, dict] = {}
        for name, param in net.named_parameters():
            if not param.requires_grad:
                continue
            depth = depths.get(name.removeprefix('backbone.'), last)
            decays = param.dim() > 1 and not _TOKENS.search(name)
            scale = cfg['decay_rate'] ** (last - depth)
            group = groups.setdefault(
                (depth, decays),
                dict(
                    params=[],
                    param_names=[],
                    lr_scale=scale,
                    lr=scale * self.base_lr,
                    weight_decay=self.base_wd if decays else 0.0,
                    group_name=f'layer_{depth}_{"" if decays else "no_"}decay',
                ),
            )
            group['params'].append(param)
            group['param_names'].append(name)
        return [*groups.values()]


def block_depths(names: Sequence[str]) -> Tuple[Dict[str, int], int]:
    """Depth of each parameter of a backbone, and that of decoders.

    What precedes all blocks has depth 0, the blocks count from 1, and what
    follows them has that of decoders, after the last. What a stage holds
    beside its blocks counts to the block before it, or else to the first of
    the stage.

    Args:
        names (Sequence[str]): Names of all parameters in their order.
    """
    latest: Dict[str, int] = {}
    found: Dict[str, tuple] = {}
    for name in names:
        match = _BLOCK.search(name)
        if match:
            stage, block = match.groups()
            latest[stage] = int(block or latest.get(stage, 0))
            found[name] = int(stage), latest[stage]
    order = {key: i for i, key in enumerate(sorted({*found.values()}), 1)}
    last, past, depths = len(order) + 1, False, {}
    for name in names:
        past = past or name in found
        depths[name] = order[found[name]] if name in found else last * past
    return depths, last
