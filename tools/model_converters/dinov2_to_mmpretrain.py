"""Names of Meta's and timm's DINOv2 weights, and those of mmpretrain."""

import argparse
import re
from pathlib import Path
from typing import Dict


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Rename the weights of a DINOv2 backbone from '
        "dl.fbaipublicfiles.com, or of timm's, for mmpretrain's "
        "VisionTransformer: init_cfg=dict(type='Pretrained', checkpoint=OUT). "
        "mmpretrain's own files of DINOv2 need no conversion."
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument(
        '--reverse',
        action='store_true',
        help="from mmpretrain's names to Meta's and timm's",
    )
    args = parser.parse_args()
    for path, wanted in (
        (args.checkpoint, args.checkpoint.is_file()),
        (args.out, args.out.absolute().parent.is_dir()),
    ):
        if not wanted:
            parser.error(f'{path} is not a file in an existing folder')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports

import torch
from torch import Tensor

# Meta's name, mmpretrain's name; the first that fits counts.
NAMES = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('blocks.{}.norm1.', 'layers.{}.ln1.'),
    ('blocks.{}.norm2.', 'layers.{}.ln2.'),
    ('blocks.{}.ls1.gamma', 'layers.{}.attn.gamma1.weight'),
    ('blocks.{}.ls2.gamma', 'layers.{}.ffn.gamma2.weight'),
    ('blocks.{}.attn.', 'layers.{}.attn.'),
    ('blocks.{}.mlp.fc1.', 'layers.{}.ffn.layers.0.0.'),
    ('blocks.{}.mlp.fc2.', 'layers.{}.ffn.layers.1.'),
    ('blocks.{}.mlp.w12.', 'layers.{}.ffn.w12.'),
    ('blocks.{}.mlp.w3.', 'layers.{}.ffn.w3.'),
    ('norm.', 'ln1.'),
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
)
UNUSED = ('mask_token',)  # of the pretraining
REGISTERS = ('register_tokens', 'reg_token')


def renamed(name: str, reverse: bool = False) -> str:
    """Name of a weight in the other library.

    Raises:
        ValueError: If it is no weight of DINOv2.
    """
    for pair in NAMES:
        old, new = reversed(pair) if reverse else pair
        match = re.match(re.escape(old).replace(r'\{\}', r'(\d+)'), name)
        if match:
            return new.format(*match.groups()) + name[match.end() :]
    raise ValueError(
        f'{name} is no weight of DINOv2: give the file of a backbone, such '
        'as dinov2_vits14_pretrain.pth'
    )


def convert(
    weights: Dict[str, Tensor], reverse: bool = False
) -> Dict[str, Tensor]:
    """Weights by the names of mmpretrain's VisionTransformer.

    Args:
        weights (dict[str, Tensor]): By Meta's names, which are timm's.
        reverse (bool): From mmpretrain's names to Meta's.

    Raises:
        ValueError: If it is another network, or lacks LayerScale.
    """
    if any(name in weights for name in REGISTERS):
        raise ValueError(
            'These weights have register tokens, which mmpretrain does not '
            'know: take the ones without (dinov2_vits14_pretrain.pth, not '
            'dinov2_vits14_reg4_pretrain.pth), or the network of timm '
            '(vit_small_patch14_reg4_dinov2)'
        )
    found = {
        renamed(name, reverse): value
        for name, value in weights.items()
        if name not in UNUSED
    }
    ours = weights if reverse else found
    layers = {name.split('.')[1] for name in ours if name[:7] == 'layers.'}
    lacking = [
        name
        for layer in sorted(layers, key=int)
        for name in (
            f'layers.{layer}.attn.gamma1.weight',
            f'layers.{layer}.ffn.gamma2.weight',
        )
        if name not in ours
    ]
    if lacking or not layers:
        raise ValueError(
            f'These weights lack {", ".join(lacking[:2]) or "all layers"}, '
            'which DINOv2 has: give the file of a DINOv2 backbone'
        )
    return found


def main() -> None:
    args = parse_args()
    weights = torch.load(
        args.checkpoint, map_location='cpu', weights_only=True
    )
    weights = weights.get('state_dict', weights)
    weights = {
        re.sub(r'^(module\.)?(backbone\.)?', '', name): value
        for name, value in weights.items()
    }
    try:
        found = convert(weights, args.reverse)
    except ValueError as error:
        raise SystemExit(f'{args.checkpoint}: {error}')
    torch.save(found, args.out)
    print(
        f'{args.out} holds {len(found)} tensors, '
        f'{sum(map(Tensor.numel, found.values())):,} numbers'
    )


if __name__ == '__main__':
    main()
