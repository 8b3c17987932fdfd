"""Compare cheaper T-VAT directions with the one of the method."""
import argparse
from pathlib import Path
from typing import Callable, Dict, List

import torch
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner, load_checkpoint
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import Tensor

from mmseg_psmt.engine.launch import forbid_code_in_checkpoints
from mmseg_psmt.models import PSMT, ensemble
from mmseg_psmt.models.heads import tapped_head
from mmseg_psmt.models.perturbation import t_vat

REFERENCE = 'both, feature'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Perturb the student's features of a trained PS-MT "
        'checkpoint in several ways: judged by both teachers or one, and '
        'begun with a random feature or random logits. For each print the '
        "cosine with the paper's direction (without its sign, which is that "
        "of the random start) and the KL divergence that it "
        'causes at the same norm in the prediction of those whom '
        'model.tvat_with names; the active teacher is the first.')
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--batches', type=int, default=8, help='to average')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={},
        help='override settings of the config, as in tools/train.py')
    args = parser.parse_args()
    for path in args.config, args.checkpoint:
        if not Path(path).is_file():
            parser.error(f'{path} does not exist')
    if args.batches < 1:
        parser.error(f'--batches must be at least 1, got {args.batches}')
    return args


def features(model: PSMT, images: Tensor) -> Tensor:
    """What enters the site of the tap for images (N, 3, H, W)."""
    seen = []
    with torch.no_grad(), model.tap.perturbed(
            lambda feat: seen.append(feat) or torch.zeros_like(feat)):
        model.segmentor(images)
    return seen[0]


def directions(model: PSMT, feat: Tensor, size: torch.Size,
               seed: int) -> Dict[str, Tensor]:
    """Perturbations of one feature by the way in which they were found."""
    xi, eps = model.tvat.xi, model.tvat.eps

    def both(feat: Tensor) -> Tensor:
        return ensemble(*(model.tap.decode(tapped_head(teacher), feat)
                          for teacher in model.teachers))

    def one(feat: Tensor) -> Tensor:
        return model.tap.decode(tapped_head(model.teachers[0]), feat)

    def found(decode: Callable[[Tensor], Tensor], start: str,
              feat: Tensor = feat, seed: int = seed) -> Tensor:
        return t_vat(
            feat, decode, xi, eps, model.tvat.num_iters,
            model.tvat.norm_eps if start == 'feature' else 0., start=start,
            generator=torch.Generator(feat.device).manual_seed(seed))

    def scaled(r: Tensor) -> Tensor:
        norm = r.flatten(1).norm(dim=1)
        return r * (eps / norm).view(-1, 1, 1, 1)

    def enlarged(x: Tensor, size: torch.Size) -> Tensor:
        return resize(x, size, mode='bilinear',
                      align_corners=model.segmentor.align_corners)

    with torch.autocast(feat.device.type, torch.bfloat16):
        rounded = found(both, 'logits')
    pooled = found(
        both, 'logits', F.avg_pool2d(feat, 2, ceil_mode=True))
    return {
        REFERENCE: found(both, 'feature'),
        'both, feature, another random one': found(
            both, 'feature', seed=seed + 1),
        'both, feature, logits at the size of the images': found(
            lambda f: enlarged(both(f), size), 'feature'),
        'one, feature': found(one, 'feature'),
        'both, logits': found(both, 'logits'),
        'both, logits, bfloat16': rounded,
        'both, logits, features pooled by 2': scaled(
            enlarged(pooled, feat.shape[2:])),
        'one, logits': found(one, 'logits'),
        'random': scaled(torch.randn_like(feat)),
    }


@torch.no_grad()
def divergence(model: PSMT, feat: Tensor, r: Tensor) -> Tensor:
    """KL per pixel of the prediction that ``tvat_with`` names, (N, )."""
    clean = F.softmax(model.decode(feat), dim=1)
    perturbed = F.log_softmax(model.decode(feat + r), dim=1)
    return F.kl_div(perturbed, clean, reduction='none').sum(1).mean((1, 2))


def main() -> None:
    args = parse_args()
    register_all_modules()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    if cfg.model.type != 'PSMT':
        raise SystemExit(f'{args.config} has a model of type '
                         f'{cfg.model.type}, not PSMT')
    if cfg.model.get('tvat', {}) is None:
        raise SystemExit(f'{args.config} has model.tvat=None: it perturbs no '
                         'features')
    cfg.model.segmentor.pretrained = None
    cfg.model.alternate_every = None  # the first teacher is the active one
    forbid_code_in_checkpoints()
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_checkpoint(model, args.checkpoint, map_location='cpu', strict=True)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    results: Dict[str, List[Tensor]] = {}
    for seed in range(args.batches):
        images = model.data_preprocessor(next(batches), True)['inputs']
        feat = features(model, images['strong'])
        found = directions(model, feat, images['strong'].shape[2:], 2 * seed)
        reference = found[REFERENCE].flatten(1)
        for name, r in found.items():
            cosine = F.cosine_similarity(r.flatten(1), reference).abs()
            results.setdefault(name, []).append(
                torch.stack([cosine, divergence(model, feat, r)]))
    print('| teachers, start | cosine | KL per pixel |\n|---|--:|--:|')
    for name, values in results.items():
        cosine, kl = torch.cat(values, dim=1).mean(dim=1)
        print(f'| {name} | {cosine:.3f} | {kl:.5f} |')


if __name__ == '__main__':
    main()
