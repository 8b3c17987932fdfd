"""What an encoder, its decoder, T-VAT and a training cost, and reach."""

import argparse
import copy
from pathlib import Path
from typing import Callable, Iterator, List, Sequence, Tuple

from mmengine.config import Config, DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print parameters and multiplications for one image of '
        'the crop of each config, and those of T-VAT with two teachers '
        'before the decoder and late in it. Needs no data, no weights and no '
        'GPU. With the checkpoint of one config also the KL that T-VAT and '
        'noise of its radius reach on weak training images. With --hours the '
        'arithmetic of an iteration of each config and the computed hours of '
        'its training instead.'
    )
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument('--crop', type=int, help='default: of the config')
    parser.add_argument('--checkpoint', type=Path)
    parser.add_argument(
        '--hours',
        action='store_true',
        help='on one card, in float32 (TF32) / under autocast to bfloat16: '
        'computed as arithmetic / (peak of the card x the share of it that '
        'ResNet-50 reaches on an A100)',
    )
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
from mmseg_psmt.models.psmt import WARMUP
from mmseg_psmt.models.t_vat import t_vat

# Dense peaks in TFLOPS, with TF32 and with bfloat16, of the data sheets of
# NVIDIA's A100 and H100 SXM and of the white paper of Ada.
CARDS = {'A100': (156, 312), 'H100': (494.7, 989.4), 'RTX 4090': (82.6, 165.2)}
# What a training reaches of them, by the throughput that NVIDIA publishes for
# ResNet-50 v1.5 on one A100: 938 and 2,470 images of 224 x 224 per second
# (DeepLearningExamples), of 4.1 GMAC forward and twice that backward.
REACHED = [
    3 * 2 * 4.1e-3 * images / peak
    for images, peak in zip((938, 2470), CARDS['A100'])
]
TRAINING = (
    'config',
    'batch',
    'iterations',
    'warm-up TFLOP',
    'TFLOP',
    'of it T-VAT',
    *(f'{card}, hours' for card in CARDS),
)
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


def places(
    net: nn.Module, images: Tensor, eps: float = 2.0, num_iters: int = 1
) -> Iterator[List]:
    """Place, cost of T-VAT, and what it reaches unless images have no values.

    Two teachers decode a clean feature, and in each iteration a moved one;
    the way back to the feature costs as much as the way from it.
    """
    head = tapped_head(net)
    for site in dict.fromkeys(('inputs', find_site(head))):
        student, row = copy.deepcopy(net), [site]
        tap = HeadTap(tapped_head(student), site)

        def look(feat: Tensor) -> Tensor:
            def decode(x: Tensor) -> Tensor:
                return tap.decode(head, x)

            row.append(2 * (1 + 2 * num_iters) * gmacs(decode, feat))
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
        net, images = on_meta(cfg, size)
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


def on_meta(cfg: Config, size: Sequence[int]) -> Tuple[nn.Module, Tensor]:
    """The student and one image, without values."""
    net = revert_sync_batchnorm(MODELS.build(cfg.model.segmentor)).eval()
    return net.to('meta'), torch.empty(1, 3, *size, device='meta')


def pair_gmacs(cfg: Config) -> Tuple[float, float, float]:
    """Multiplications in 10^9 for a labeled and an unlabeled image.

    A backward pass to all weights is twice a forward one.

    Returns:
        tuple[float, float, float]: In an iteration of the warm-up; in one
        after it, without T-VAT; in T-VAT.
    """
    model = cfg.model
    net, images = on_meta(cfg, model.data_preprocessor.size)
    teachers = model.get('teachers') or {}
    num, frozen = teachers.get('num', 2), model.get('freeze_backbone')
    encoder = gmacs(net.backbone, images)
    decoder = gmacs(net, images) - encoder
    student = (1 if frozen else 3) * encoder + 3 * decoder
    judged = (1 if frozen else num) * encoder + num * decoder
    auxiliary = 0.0
    if net.with_auxiliary_head:
        with torch.no_grad():
            feats = net.extract_feat(images)
        heads = net.auxiliary_head
        heads = heads if isinstance(heads, nn.ModuleList) else [heads]
        auxiliary = sum(3 * gmacs(head, feats) for head in heads)
    warmup = student + auxiliary
    if teachers.get('init') == 'independent':
        warmup *= 1 + num
    attack, tvat = 0.0, model.get('tvat', {})
    if tvat is not None:
        site = find_site(tapped_head(net), model.get('perturb_at'))
        costs = dict(places(net, images, num_iters=tvat.get('num_iters', 1)))
        judges = 1 if model.get('tvat_with') == 'active' else num
        attack = judges * costs[site]  # two images; its cost is for two nets
    return warmup, 2 * student + auxiliary + judged, attack


def pair_seconds(
    found: Tuple[float, float, float], card: str
) -> List[Tuple[float, float]]:
    """Computed seconds for a pair of images, in the warm-up and after it.

    Args:
        found (tuple[float, float, float]): From :func:`pair_gmacs`.
        card (str): One of :data:`CARDS`.

    Returns:
        list[tuple[float, float]]: In float32 (TF32), and under autocast to
        bfloat16, where T-VAT stays in float32.
    """
    warmup, rest, attack = found
    rates = [  # GMAC per second
        500 * peak * share for peak, share in zip(CARDS[card], REACHED)
    ]
    return [(warmup / rate, rest / rate + attack / rates[0]) for rate in rates]


def training(path: Path, options: dict) -> Iterator[str]:
    """Cells of a config's row: arithmetic, and hours on one of each card."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    if cfg.model.get('type') != 'PSMT':
        raise SystemExit(
            f'{path} trains {cfg.model.get("type")!r}: give a config with '
            "model.type='PSMT'"
        )
    warmup, rest, attack = pair_gmacs(cfg)
    last, batch = cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size
    first = cfg.model.get('warmup_iters')
    first = round(WARMUP * last) if first is None else first
    yield from (path.stem, f'{batch} + {batch}', f'{last:,}')
    yield from (f'{2e-3 * batch * x:.2f}' for x in (warmup, rest + attack))
    yield f'{attack / (rest + attack):.1%}'
    for card in CARDS:
        hours = [
            batch * (first * warm + (last - first) * pair) / 3600
            for warm, pair in pair_seconds((warmup, rest, attack), card)
        ]
        yield ' / '.join(f'{x:.1f}' for x in hours)


def main() -> None:
    args = parse_args()
    register_all_modules()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    columns = COSTS + REACH * bool(args.checkpoint)
    found = (row for path in args.configs for row in rows(path, args))
    if args.hours:
        columns = TRAINING
        found = (training(path, args.cfg_options) for path in args.configs)
    lines = [columns, ['---'] * len(columns)]
    lines += [
        [x if isinstance(x, str) else f'{x:.3g}' for x in row] for row in found
    ]
    print('\n'.join(f'| {" | ".join(line)} |' for line in lines))


if __name__ == '__main__':
    main()
