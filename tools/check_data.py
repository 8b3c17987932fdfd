"""Say what a PS-MT config trains on, before it costs a night."""

import argparse
import os
import sys
from collections import Counter
from itertools import chain, islice
from math import ceil, nan
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Optional

import numpy as np
from mmengine.config import Config, DictAction
from PIL import Image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Report on the images, masks and schedule of a PS-MT '
        'config, and draw a batch as the model gets it. Exits with 1 if '
        'something would spoil the training.'
    )
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes of the training'
    )
    parser.add_argument(
        '--out', type=Path, help='PNG; <work dir>/check_data.png if unset'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as in tools/train.py',
    )
    args = parser.parse_args()
    if args.gpus < 1:
        parser.error(f'--gpus must be at least 1, got {args.gpus}')
    if args.out and (args.out.suffix != '.png' or args.out.is_dir()):
        parser.error(f'--out must be a file that ends in .png, got {args.out}')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports

from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import DATA_SAMPLERS, DATASETS, HOOKS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmseg_psmt.datasets import PairSampler, SemiSegDataset
from mmseg_psmt.datasets.checks import (
    FAULTS,
    agreement_problems,
    batch_problems,
    class_problems,
    ignore_problems,
    leaks,
    lone_class_problems,
    metric_problems,
    photo_warnings,
    pipeline_problems,
    scan_all,
)
from mmseg_psmt.datasets.images import leaves, reason, source
from mmseg_psmt.datasets.semi_dataset import build_part
from mmseg_psmt.engine.hooks.early_warning_hook import (
    too_short,
    untrained,
    without_clock,
)
from mmseg_psmt.engine.hooks.teacher_ema_hook import random_head
from mmseg_psmt.launch import forbid_code_in_checkpoints
from mmseg_psmt.models import PSMT
from mmseg_psmt.models.encoders import checkpoint_of, must_fit, patch_size
from mmseg_psmt.models.heads import class_heads
from mmseg_psmt.options import did_you_mean, is_type
from mmseg_psmt.visualization import (
    legend_of,
    painted,
    palette_of,
    pictures,
    sheet,
)


def load(path: str, options: dict, gpus: int) -> Config:
    """The config, if it is one of PS-MT; SystemExit if not."""
    try:
        # The lengths in some configs depend on it.
        os.environ['WORLD_SIZE'] = str(gpus)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options or {})
        loader = cfg.train_dataloader
        parts = (
            (MODELS, cfg.model, PSMT),
            (DATASETS, loader.dataset, SemiSegDataset),
            (DATA_SAMPLERS, loader.sampler, PairSampler),
        )
        found = [part.get('type') for _, part, _ in parts]
        if not all(
            is_type(registry, part.get('type'), wanted)
            for registry, part, wanted in parts
        ):
            raise ValueError(
                'model, train_dataloader.dataset and train_dataloader.sampler '
                f'must be PSMT, SemiSegDataset and PairSampler, not {found}'
            )
        if 'max_iters' not in cfg.train_cfg:
            raise ValueError(
                'train_cfg needs max_iters: PairSampler is '
                'endless, it has no epochs'
            )
    except Exception as error:
        raise SystemExit(f'{path} is not a PS-MT config: {reason(error)}')
    return cfg


class Problems(list):
    """Messages, so that one run names all that is wrong."""

    def add(self, messages: Iterable[str]) -> None:
        """Keep the first three of a kind."""
        messages = list(messages)
        self += messages[:3]
        if len(messages) > 3:
            self.append(f'... and {len(messages) - 3} more like this')

    def attempt(self, make: Callable, *args) -> Any:
        """What ``make`` returns, or None if it fails."""
        try:
            return make(*args)
        except Exception as error:
            self.append(f'{reason(error)} {did_you_mean(error)}'.strip())


def show_sizes(
    kind: str, dataset: Dataset, scanned: List[dict], model: Optional[PSMT]
) -> None:
    """Print height and width, and how many images are below the crop."""
    sizes = np.array([seen['size'] for seen in scanned if 'size' in seen])
    if not len(sizes):
        return
    rows = np.min(sizes, 0), np.median(sizes, 0), np.max(sizes, 0)
    print(
        '  height x width: smallest {:.0f} x {:.0f}, median {:.0f} x {:.0f},'
        ' largest {:.0f} x {:.0f}'.format(*np.ravel(rows))
    )
    crop = model and model.data_preprocessor.size
    for step in next(leaves(dataset)).pipeline.transforms:
        crop = getattr(step, 'crop_size', crop)
    if crop and kind != 'validation':
        print(
            f'  {(sizes < crop).any(1).sum()} are smaller, as stored, than '
            f'the crop of {crop[0]} x {crop[1]}; padding is masked'
        )


def show_classes(classes: List[str], scanned: List[dict]) -> None:
    """Print how many masks and pixels hold each class."""
    masks, pixels = Counter(), Counter()
    for seen in scanned:
        masks.update(seen['pixels'].keys())
        pixels.update(seen['pixels'])
    for i, name in enumerate(classes):
        print(f'  {i:3} {name:<20}{masks[i]:7} images{pixels[i]:15,} pixels')
    absent = [name for i, name in enumerate(classes) if not masks[i]]
    if absent:
        print(
            f'  WARNING: no labeled image holds {", ".join(absent)}, which '
            'cannot be learned so: label images that do'
        )


def show_schedule(
    cfg: Config,
    model: Optional[PSMT],
    trained: Optional[bool],
    gpus: int,
    labeled: int,
    unlabeled: int,
) -> None:
    """Print the schedule in passes over both lists."""
    pairs = cfg.train_dataloader.batch_size
    lr, batch = cfg.optim_wrapper.optimizer.get('lr', nan), pairs * gpus
    scale = cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size') or batch
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    if scale.get('enable'):
        lr *= batch / base
    print(f'schedule: {pairs} pairs x {gpus} = {batch}, learning rate {lr:g}')
    lengths = dict(max_iters=cfg.train_cfg.max_iters)
    if model:
        model.set_schedule(
            cfg.train_cfg.max_iters,
            ceil(unlabeled / batch),
            steps,
            trained=bool(trained),
        )
        lengths.update(
            warmup_iters=model.warmup_iters,
            ramp_iters=model.ramp_iters,
            alternate_every=model.teachers.alternate_every,
        )
    for name, length in lengths.items():
        print(
            f'  {name:16}{length:7} = {length * batch / labeled:.1f} passes '
            f'over labeled, {length * batch / unlabeled:.1f} over '
            'unlabeled images'
        )
    for problem in too_short(labeled, batch, cfg.train_cfg.max_iters):
        print(f'  WARNING: {problem}')
    if base not in (batch, batch * steps) and not scale.get('enable'):
        print(
            f'  WARNING: the learning rate {lr} is meant for a batch of '
            f'{base}, not {batch}: set optim_wrapper.optimizer.lr='
            f'{lr * batch * steps / base:g}'
            + ('' if steps > 1 else ' or auto_scale_lr.enable=True')
        )


def begins_trained(cfg: Config, model: PSMT) -> bool:
    """Whether a training begins with a trained decode head.

    Raises:
        FileNotFoundError: If the checkpoint is missing.
    """
    path = cfg.get('load_from')
    if cfg.get('resume') or not path or '://' in path:
        return bool(cfg.get('resume') or path)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'load_from={path!r} does not exist: give the checkpoint of a '
            'supervised training, or leave it out'
        )
    checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    random = random_head(model, checkpoint.get('state_dict', checkpoint))
    if random:
        print(f'  WARNING: {random}')
    return not random


def hook_types(cfg: Config) -> Iterator[type]:
    """Classes of the hooks of a config, as far as they are known."""
    for hook in chain(
        (cfg.get('default_hooks') or {}).values(),
        cfg.get('custom_hooks') or [],
    ):
        kind = hook['type'] if isinstance(hook, dict) else type(hook)
        kind = HOOKS.get(kind) if isinstance(kind, str) else kind
        if isinstance(kind, type):
            yield kind


def load_weights(backbone: nn.Module) -> None:
    """Load pretrained weights as a training does, unless from the network.

    Raises:
        ValueError: If they do not fit.
    """
    checkpoint = checkpoint_of(backbone)
    if checkpoint and '://' not in checkpoint:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel('WARNING')  # each tensor is a line
        try:
            with must_fit(backbone):
                backbone.init_weights()
        finally:
            logger.setLevel(level)


def draw(cfg: Config, model: PSMT, dataset: SemiSegDataset) -> np.ndarray:
    """Sheet of the first pairs of a batch, uint8 RGB (H, W, 3)."""
    seed = cfg.get('randomness', {}).get('seed') or 0
    set_random_seed(seed)
    sampler = DATA_SAMPLERS.build(
        cfg.train_dataloader.sampler,
        default_args=dict(dataset=dataset, seed=seed),
    )
    pairs = islice(sampler, cfg.train_dataloader.batch_size)
    batch = model.data_preprocessor(
        pseudo_collate([dataset[pair] for pair in pairs]), training=True
    )
    views, valid = batch['inputs'], batch['inputs']['valid']
    print(
        f'batch: {1 - valid.float().mean():.1%} of its unlabeled pixels '
        'are padding'
    )
    mixed, logits = views['strong'], valid[:, None].float()
    rng = np.random.default_rng(seed)
    for mix in model.mix:
        mixed, logits, valid = mix(mixed, logits, valid, rng)
    palette = palette_of(dataset.metainfo, model.out_channels)

    def shown(images: Tensor) -> np.ndarray:
        return pictures(
            images[:4],
            getattr(model.data_preprocessor, 'mean', 0.0),
            getattr(model.data_preprocessor, 'std', 1.0),
        )

    sizes = [
        '{} x {}'.format(*views[name].shape[2:])
        for name in ('labeled', 'weak')
    ]
    if sizes[0] != sizes[1]:
        print(
            f'  WARNING: labeled images enter the model as {sizes[0]}, '
            f'unlabeled as {sizes[1]}'
        )
    return sheet(
        dict(
            labeled=shown(views['labeled']),
            mask=[
                painted(sample.gt_sem_seg.data[0], palette)
                for sample in batch['data_samples']['labeled'][:4]
            ],
            weak=shown(views['weak']),
            strong=shown(views['strong']),
            mixed=shown(mixed),
        ),
        f'a batch as the model gets it, {Path(cfg.filename).name}',
        legend=[
            *legend_of(dataset.metainfo, model.out_channels),
            ('no class', [255] * 3),
        ],
    )


def inspect(
    problems: Problems, kind: str, dataset: Dataset, model: Optional[PSMT]
) -> List[dict]:
    """Read one part of the data, print what it holds and return it."""
    lists = ', '.join(source(leaf) for leaf in leaves(dataset))
    print(f'{kind}: {len(dataset)} images, {lists}')
    scanned = scan_all(kind, dataset)
    for fault in FAULTS:
        problems.add(seen[fault] for seen in scanned if seen.get(fault))
    show_sizes(kind, dataset, scanned, model)
    if kind != 'unlabeled':
        classes = dataset.metainfo.get('classes')
        if classes and kind == 'labeled':
            show_classes(classes, scanned)
        heads = class_heads(model.segmentor) if model else {}
        problems.add(class_problems(heads, kind, dataset))
        problems.add(lone_class_problems(kind, dataset, scanned))
    return scanned


def check(cfg: Config, gpus: int, out: Path) -> Problems:
    """Print the report, draw the sheet and return what is wrong."""
    problems, parts, scanned = Problems(), {}, {}
    model = problems.attempt(MODELS.build, cfg.model)
    if model is not None:
        problems.attempt(load_weights, model.segmentor.backbone)
    configs = dict(
        labeled=cfg.train_dataloader.dataset.labeled,
        unlabeled=cfg.train_dataloader.dataset.unlabeled,
    )
    if cfg.get('val_dataloader'):
        configs['validation'] = cfg.val_dataloader.dataset
    else:
        print('validation: none')
    for kind, part in configs.items():
        parts[kind] = problems.attempt(build_part, kind, part)
        if parts[kind] is not None:
            scanned[kind] = inspect(problems, kind, parts[kind], model)
    labeled, unlabeled, validation = map(
        parts.get, ('labeled', 'unlabeled', 'validation')
    )
    for kind in ('labeled', 'unlabeled'):
        if parts[kind] is not None and validation is not None:
            problems.add(leaks(kind, parts[kind], validation))
    if labeled is None or unlabeled is None:
        return problems
    problems.add(
        agreement_problems(
            {kind: part for kind, part in parts.items() if part is not None}
        )
    )
    if model is not None:
        problems.add(
            ignore_problems(
                class_heads(model.segmentor),
                model.data_preprocessor.seg_pad_val,
                labeled,
                scanned['labeled'],
            )
        )
    if validation is not None:
        metrics = cfg.get('val_evaluator') or []
        problems.add(
            metric_problems(
                (
                    metric.get('ignore_index', 255)
                    for metric in (
                        metrics if isinstance(metrics, list) else [metrics]
                    )
                ),
                scanned['validation'],
            )
        )
    others = [part for part in (labeled, validation) if part is not None]
    for warning in photo_warnings(unlabeled, *others):
        print(f'  WARNING: {warning}')
    shared = list(leaks('labeled', labeled, unlabeled))
    print(
        f'{len(shared)} of the labeled images are unlabeled ones, too, '
        'which is allowed'
    )
    trained = model and problems.attempt(begins_trained, cfg, model)
    counts = len(labeled), len(unlabeled)
    problems.attempt(show_schedule, cfg, model, trained, gpus, *counts)
    problems.add(without_clock(hook_types(cfg)))
    if model is None:
        return problems
    if trained is not None:
        problems.add(untrained(model, trained))
    try:
        pairs = SemiSegDataset(labeled, unlabeled)
        problems.add(pipeline_problems(pairs, validation))
        if not problems:
            problems.add(
                batch_problems(
                    pairs,
                    model.data_preprocessor,
                    model.one_pass,
                    patch_size(model.segmentor.backbone),
                    scanned,
                    validation,
                )
            )
        sheet = draw(cfg, model, pairs)
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(out)
        print(f'sheet: {out}')
    except Exception as error:
        if problems:
            print(f'no sheet: {reason(error)}')
        else:
            problems.append(
                f'no batch can be drawn ({reason(error)}): fix the pipelines '
                'or model.data_preprocessor'
            )
    return problems


def main() -> None:
    args = parse_args()
    cfg = load(args.config, args.cfg_options, args.gpus)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    forbid_code_in_checkpoints()
    folder = Path(cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}')
    problems = check(cfg, args.gpus, args.out or folder / 'check_data.png')
    if problems:
        print('not fit:', *problems, sep='\n- ')
        sys.exit(1)
    print('fit')


if __name__ == '__main__':
    main()
