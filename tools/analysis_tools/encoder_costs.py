"""What an encoder, its decoder and T-VAT at each place cost, and reach."""

import argparse
import copy
from pathlib import Path
from typing import Callable, Iterator, List

from mmengine.config import Config, DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print parameters and multiplications for one image of '
        'the crop of each config, and those of T-VAT with two teachers '
        'before the decoder and late in it. Needs no data, no weights and no '
        'GPU. With the checkpoint of one config also the KL that T-VAT and '
        'noise of its radius reach on weak training images.'
    )
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument('--crop', type=int, help='default: of the config')
    parser.add_argument('--checkpoint', type=Path)
    parser.add_argument('--num', type=int, default=4, help='images for the KL')
    parser.add_argument('--eps', type=float, default=2.0, help='radius')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the configs, as in tools/train.py',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner, load_checkpoint
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmseg_psmt.models.head_tap import HeadTap
from mmseg_psmt.models.heads import find_site, head_with_inputs, tapped_head
from mmseg_psmt.models.t_vat import t_vat

COSTS = (
    'config',
    'crop',
    'encoder M',
    'decoder M',
    'encoder GMAC',
    'decoder GMAC',
    'place',
    'T-VAT GMAC',
)
REACH = ('KL of noise', 'KL of T-VAT', 'radius / feature')


def gmacs(function: Callable, *args: Tensor) -> float:
    """Multiplications of a call, in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*args)
    return counter.get_total_flops() / 2e9


def millions(module: nn.Module) -> float:
    """Parameters, in 10^6."""
    return sum(p.numel() for p in module.parameters()) / 1e6


def divergence(decode: Callable, feat: Tensor, move: Tensor) -> float:
    """Mean over pixels of the KL that a move of a feature makes, in nats."""
    with torch.no_grad():
        clean = decode(feat).softmax(dim=1)
        log = F.log_softmax(decode(feat + move), dim=1)
    kl = F.kl_div(log, clean, reduction='sum')
    return (kl / clean[:, 0].numel()).item()


def places(net: nn.Module, images: Tensor, eps: float) -> Iterator[List]:
    """Place, cost of T-VAT, and what it reaches unless images have no values.

    Two teachers decode a clean feature once and a moved one forward and
    backward, which is three times as much.
    """
    head = tapped_head(net)
    for site in dict.fromkeys(('inputs', find_site(head))):
        student, row = copy.deepcopy(net), [site]
        tap = HeadTap(tapped_head(student), site)

        def look(feat: Tensor) -> Tensor:
            def decode(x: Tensor) -> Tensor:
                return tap.decode(head, x)

            row.append(2 * 4 * gmacs(decode, feat))
            if not feat.is_meta:
                noise = torch.randn_like(feat).flatten(1)
                noise = eps * noise / noise.norm(dim=1, keepdim=True)
                row.extend(
                    [
                        divergence(decode, feat, noise.view_as(feat)),
                        divergence(decode, feat, t_vat(feat, decode, eps=eps)),
                        (eps / feat.flatten(1).norm(dim=1)).mean().item(),
                    ]
                )
            return torch.zeros_like(feat)

        tapped, inputs = head_with_inputs(student, images)
        with tap.perturbed(look), torch.no_grad():
            tapped.forward(*inputs)
        yield row


def rows(path: Path, args: argparse.Namespace) -> Iterator[List]:
    """A row for each place of T-VAT in the network of a config."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(args.cfg_options)
    backbone = cfg.model.segmentor.backbone
    if backbone.type == 'TIMMBackbone':
        backbone.pretrained = False
    if args.checkpoint:
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        load_checkpoint(model, str(args.checkpoint), 'cpu', strict=True)
        net, size = model.teachers[0].eval(), model.data_preprocessor.size
        pairs = Runner.build_dataloader(cfg.train_dataloader).dataset
        batch = pseudo_collate([pairs[0, i, (0, i)] for i in range(args.num)])
        images = model.data_preprocessor(batch, True)['inputs']['weak']
    else:
        size = (
            args.crop
            and (args.crop, args.crop)
            or tuple(cfg.model.data_preprocessor.size)
        )
        net = revert_sync_batchnorm(MODELS.build(cfg.model.segmentor))
        net, images = (
            net.eval().to('meta'),
            torch.empty(1, 3, *size, device='meta'),
        )
    encoder = gmacs(net.backbone, images[:1])
    fixed = [
        path.stem,
        'x'.join(map(str, size)),
        millions(net.backbone),
        millions(net) - millions(net.backbone),
        encoder,
        gmacs(net, images[:1]) - encoder,
    ]
    for place, cost, *reach in places(net, images, args.eps):
        yield [*fixed, place, cost / len(images), *reach]


def main() -> None:
    args = parse_args()
    register_all_modules()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    columns = COSTS + REACH * bool(args.checkpoint)
    lines = [columns, ['---'] * len(columns)]
    lines += [
        [x if isinstance(x, str) else f'{x:.3g}' for x in row]
        for path in args.configs
        for row in rows(path, args)
    ]
    print('\n'.join(f'| {" | ".join(line)} |' for line in lines))


if __name__ == '__main__':
    main()
