"""Compare PS-MT as tools/init.py sets it up with supervised training.

Each data set, network and share of labels is a cell: a config is written as
docs/custom_data.md tells a user to, tools/init.py makes the PS-MT config and
its supervised twin of it, and both are trained for as many updates, from the
same split and with the same seeds.

  python tools/bench.py DATA... --weights tf_efficientnet_lite0.pth

runs the core: one network, one share, one seed. The whole bench:

  python tools/bench.py DATA... --weights tf_efficientnet_lite0.pth \\
      --nets efficientnet segformer --shares 1/16 1/8 --seeds 0 1 2

A data set is a folder in the layout of Pascal VOC: JPEGImages,
SegmentationClass, ImageSets/Segmentation/{train,val,test}.txt and meta.json
with 'classes', perhaps 'palette'. What is done is skipped and what was cut
off goes on. With --vary settings are compared on the validation images, and
nothing is tested. The worst cell comes before the mean: a default must not
lose anywhere.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

import numpy as np
from analysis_tools import results

ROOT = Path(__file__).resolve().parents[1]
KNOWN = 15  # IoU of a class that supervised training knows
# Chosen for supervised training on validation images.
NETS = dict(
    efficientnet=dict(
        base='deeplabv3plus_efficientnet-lite0-d16',
        optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=5e-4),
    ),
    segformer=dict(
        base='segformer_mit-b0',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    ),
)
CONFIG = """\
_base_ = [
    '{root}/configs/_base_/models/{base}.py',
    '{root}/configs/_base_/schedules/sgd_poly.py',
    '{root}/configs/_base_/default_runtime.py'
]
crop_size = ({crop}, {crop})
model = {model}
optim_wrapper = dict(optimizer=dict(_delete_=True, **{optimizer}))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end={iters}, by_epoch=False)
]
train_cfg = dict(max_iters={iters}, val_interval={iters})
default_hooks = dict(checkpoint=dict(interval={iters}, save_best=None))
images = dict(
    type='BaseSegDataset',
    data_root={data!r},
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(
        classes={classes},
        palette={palette}))
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **images,
        ann_file={labeled!r},
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(
                type='RandomResize',
                scale=({side}, {side}),
                ratio_range=(0.5, 2.0),
                keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs')
        ]))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images,
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=({side}, {side}), keep_ratio=True),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')
        ]))
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'],
        ann_file='ImageSets/Segmentation/test.txt'))
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', nargs='+', type=Path, help='data sets')
    parser.add_argument(
        '--nets', nargs='+', choices=NETS, default=['efficientnet']
    )
    parser.add_argument(
        '--shares',
        nargs='+',
        default=['1/8'],
        help='of the training images that are labeled',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--iters',
        type=int,
        default=500,
        help='updates of each training. Default 500',
    )
    parser.add_argument(
        '--side',
        type=int,
        default=192,
        help='long side of the images in pixels. Default 192',
    )
    parser.add_argument('--crop', type=int, default=97)
    parser.add_argument(
        '--weights',
        type=Path,
        help='ImageNet weights of '
        'tf_efficientnet_lite0; timm downloads them if unset',
    )
    parser.add_argument(
        '--vary',
        nargs='+',
        metavar='KEY=VALUE',
        help='train '
        'PS-MT with these settings, and compare on the '
        'validation images',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=2,
        help='trainings at the same time. Default 2',
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/bench'))
    parser.add_argument(
        '--csv', type=Path, help='file that receives a row per tested training'
    )
    args = parser.parse_args()
    for folder in args.data:
        if not (folder / 'meta.json').is_file():
            parser.error(
                f'{folder}/meta.json does not exist: name folders in '
                'the layout that --help describes'
            )
    if args.vary and args.csv:
        parser.error('--csv is for tests, which --vary has none of')
    return args


def run(*words) -> None:
    """A tool of the project; SystemExit with what it printed if it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(f'{" ".join(map(str, words))} failed:\n{done.stdout}')


def write(args: argparse.Namespace, data: Path, net: str, share: str) -> Path:
    """The PS-MT config of a cell, its twin and its lists, once."""
    folder = args.out / f'{data.name}_{net}_{share.replace("/", "-")}'
    config = args.out / 'configs' / f'{folder.name}.py'
    meta = json.loads((data / 'meta.json').read_text())
    classes = meta['classes']
    palette = (
        meta.get('palette')
        or np.random.default_rng(0)
        .integers(256, size=(len(classes), 3))
        .tolist()
    )
    model = dict(
        data_preprocessor=dict(size=(args.crop, args.crop)),
        decode_head=dict(num_classes=len(classes)),
    )
    if net == 'efficientnet' and args.weights:
        model['backbone'] = dict(
            pretrained=False, checkpoint_path=str(args.weights.resolve())
        )
    elif net == 'segformer':
        model.update(backbone=dict(init_cfg=None))  # from random weights
        model['decode_head'].update(
            channels=128, norm_cfg=dict(type='BN', requires_grad=True)
        )
    options = dict(
        root=ROOT,
        base=NETS[net]['base'],
        optimizer=NETS[net]['optimizer'],
        crop=args.crop,
        side=args.side,
        iters=args.iters,
        model=model,
        data=str(data.resolve()),
        classes=classes,
        palette=palette[: len(classes)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.parent.mkdir(parents=True, exist_ok=True)
    every, labeled = folder / 'every.py', folder / 'labeled.py'
    lists = folder.resolve() / 'lists'
    text = CONFIG.format(**options, labeled='ImageSets/Segmentation/train.txt')
    if config.exists():
        if every.read_text() != text:
            raise SystemExit(
                f'{every} was written with other options or for other data: '
                'choose another --out, or give the same'
            )
        return config
    every.write_text(text)
    labeled.write_text(
        CONFIG.format(**options, labeled=str(lists / 'labeled.txt'))
    )
    if not lists.exists():
        run(
            ROOT / 'tools/make_splits.py',
            every,
            '--labeled',
            share,
            '--out',
            lists,
        )
    photos = lists / 'photos.txt'
    run(
        ROOT / 'tools/init.py', labeled, '--unlabeled', photos, '--out', config
    )
    return config


def pairs(records: Iterable[dict]) -> Dict[str, List[Tuple[dict, dict]]]:
    """Return the cells by name: records of twin and PS-MT, one pair a seed."""
    found = {(record['config'], record['seed']): record for record in records}
    cells = {}
    for (name, seed), record in found.items():
        twin = found.get((f'{name}_supervised', seed))
        if twin:
            cells.setdefault(name, []).append((twin, record))
    return cells


def render(cells: Dict[str, List[Tuple[dict, dict]]]) -> str:
    """Write a Markdown row per cell, the worst first, and what they say."""
    rows, gains = [], {}
    for name, runs in cells.items():
        twin, psmt, student = (
            np.array(values)
            for values in zip(
                *(
                    (
                        results.score(a),
                        results.score(b),
                        b.get('student', results.score(b)),
                    )
                    for a, b in runs
                )
            )
        )
        gains[name] = (psmt - twin).mean()
        known = {
            label: np.mean([a['IoU'][label] for a, _ in runs])
            for label in runs[0][0]['IoU']
        }
        lost = [
            label
            for label, iou in known.items()
            if iou > KNOWN
            and np.mean([b['IoU'][label] for _, b in runs]) < iou / 2
        ]
        cost = sum(b['hours'] for _, b in runs) / sum(
            a['hours'] for a, _ in runs
        )
        rows.append(
            (
                gains[name],
                (
                    f'| {name} | {len(runs)} | {results.spread(twin)} | '
                    f'{results.spread(psmt)} | {results.spread(student)} | '
                    f'{results.spread(psmt - twin, "+")} | '
                    f'{results.spread(student - twin, "+")} | '
                    f'{", ".join(lost) or "–"} | {cost:.1f} |'
                ),
            )
        )
    (pair, *_), *_ = cells.values()
    values = [*gains.values()]
    return '\n'.join(
        [
            f'| mIoU on {pair[0]["images"]} | seeds | supervised | teachers | '
            'student | gain | gain of the student | lost classes | cost |',
            '|---|--:|--:|--:|--:|--:|--:|---|--:|',
            *(row for _, row in sorted(rows)),
            f'\nworst {min(values):+.2f} ({min(gains, key=gains.get)}), mean '
            f'{np.mean(values):+.2f} of {len(values)} cells',
        ]
    )


def main() -> None:
    args = parse_args()
    configs = [
        write(args, data, net, share)
        for data in args.data
        for net in args.nets
        for share in args.shares
    ]
    runs = args.out / 'runs'
    common = ['--seeds', *args.seeds, '--jobs', args.jobs, '--work-dirs', runs]
    if args.csv:
        common += ['--csv', args.csv]
    twins = [path.with_name(f'{path.stem}_supervised.py') for path in configs]
    reproduce = [sys.executable, ROOT / 'tools/reproduce.py']
    env, failed = {'OMP_NUM_THREADS': '1', **os.environ}, 0
    for words in (
        ([*twins, *configs],)
        if not args.vary
        else (twins, [*configs, '--vary', *args.vary])
    ):
        done = subprocess.run(
            [*map(str, [*reproduce, *words, *common])], env=env
        )
        failed |= done.returncode
    options = '+'.join(['', *(args.vary or ())]).replace('/', '_')
    records, notes = results.collect(
        [
            runs / name / f'seed{seed}'
            for config in configs
            for name in (f'{config.stem}_supervised', config.stem + options)
            for seed in args.seeds
            if (runs / name / f'seed{seed}').is_dir()
        ],
        validation=bool(args.vary),
    )
    cells = pairs(
        record for record in records if record['iterations'] == str(args.iters)
    )
    if not cells:
        raise SystemExit(
            '\n'.join([*notes, f'No pair is done: see the logs in {runs}'])
        )
    print(f'\n{render(cells)}', *notes, sep='\n')
    sys.exit(failed)


if __name__ == '__main__':
    main()
