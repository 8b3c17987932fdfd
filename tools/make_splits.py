"""Draw labelled and unlabelled lists of a data set that has all its masks.

Every mask is read once, as the config loads it. The labelled images are drawn
by chance so that they cover every class, the rarest first, and hold each class
about as often as the whole set does. The same seed gives the same lists. A
training image that is also in the validation or the test is refused, and
lists that exist are never overwritten.

  python tools/make_splits.py my_config.py --labeled 1/8 --folds 3 --out splits

writes splits/fold0/labeled.txt, splits/fold0/unlabeled.txt, and so on.
"""
import argparse
import os.path as osp
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from mmengine import Config
from mmengine.fileio import exists
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

from mmseg_psmt.datasets import SemiSegDataset
from mmseg_psmt.datasets.semi_dataset import leaves


def build(cfg: Config, loader: str) -> List[Tuple[BaseSegDataset, dict]]:
    """Images that a loader reads, each with its data set."""
    try:
        dataset = DATASETS.build(cfg[loader]['dataset'])
        parts = ([dataset.labeled, dataset.unlabeled] if isinstance(
            dataset, SemiSegDataset) else [dataset])
        found = [leaf for part in parts for leaf in leaves(part)]
        images = [(leaf, leaf.get_data_info(i)) for leaf in found
                  for i in range(len(leaf))]
    except (AssertionError, KeyError, OSError, ValueError) as error:
        raise SystemExit(
            f'{loader}.dataset cannot be built, perhaps because its folder or '
            'list is missing or empty: see data_root, data_prefix, ann_file '
            f'and the suffixes. {error}')
    if loader == 'train_dataloader' and len(found) != len(parts):
        raise SystemExit(f'{loader}.dataset joins {len(found)} data sets, and '
                         'a name in a list could belong to any: draw the '
                         'lists of one data set at a time')
    return images


def name_of(leaf: BaseSegDataset, info: dict) -> str:
    name = osp.relpath(info['img_path'], leaf.data_prefix['img_path'])
    return name[:len(name) - len(leaf.img_suffix)]


def write(path: Path, names: Sequence[str]) -> None:
    path.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')


def check_images(cfg: Config, images: Sequence[dict]) -> None:
    """SystemExit where two images are one, or one is held out as well."""
    seen = {}
    for info in images:
        path = info['img_path']
        if seen.setdefault(osp.realpath(path), path) is not path:
            raise SystemExit(f'The training set holds {path} twice, the other '
                             f'as {seen[osp.realpath(path)]}: take one out')
    for loader in ('val_dataloader', 'test_dataloader'):
        held_out = {osp.realpath(info['img_path']) for _, info in (
            build(cfg, loader) if cfg.get(loader) else ())}
        shared = [path for real, path in seen.items() if real in held_out]
        if shared:
            raise SystemExit(f'{len(shared)} training images are in {loader}, '
                             f'too, such as {", ".join(shared[:3])}: take '
                             'them out of one of them')


def check_names(leaf: BaseSegDataset, names: Sequence[str],
                images: Sequence[dict]) -> None:
    """SystemExit where a list without the first name gives other files."""
    with tempfile.TemporaryDirectory() as folder:
        leaf.ann_file = osp.join(folder, 'all.txt')
        write(Path(leaf.ann_file), names[1:])
        listed = leaf.load_data_list()
    wanted, got = ({(osp.realpath(info['img_path']),
                     osp.realpath(info.get('seg_map_path') or ''))
                    for info in infos} for infos in (images[1:], listed))
    if got != wanted:
        raise SystemExit(
            f'{type(leaf).__name__} does not find the same files by a list of '
            f'names such as {names[0]}: it wants lists of another kind, or '
            'labeled and unlabeled have different folders or suffixes')


def count_pixels(leaf: BaseSegDataset, info: dict) -> np.ndarray:
    """Pixels of each class in one mask; SystemExit where a file is wrong."""
    image, mask = info['img_path'], info.get('seg_map_path')
    load = next((transform for transform in leaf.pipeline.transforms
                 if isinstance(transform, LoadAnnotations)), None)
    if load is None:
        raise SystemExit(f'The pipeline of {image} has no LoadAnnotations, '
                         'but the masks of all training images are needed')
    if not exists(image, leaf.backend_args):
        raise SystemExit(f'{image} does not exist: mend the list, '
                         'data_prefix or img_suffix')
    try:
        ids = load(info)['gt_seg_map']
    except Exception as error:
        raise SystemExit(f'{mask}, the mask of {image}, cannot be read: mend '
                         f'it, data_prefix or seg_map_suffix. {error!r}')
    classes = len(leaf.metainfo['classes'])
    counts = np.bincount(ids[ids != leaf.ignore_index], minlength=classes)
    wrong = classes + np.flatnonzero(counts[classes:])
    if len(wrong):
        raise SystemExit(
            f'{mask} holds the ids {wrong.tolist()}, but there are {classes} '
            f'classes (0 to {classes - 1}) and ignore_index is '
            f'{leaf.ignore_index}: mend the mask, or the classes or '
            'reduce_zero_label of the data set')
    return counts


def draw(holds: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which images are labelled; ``holds`` is (images, classes)."""
    rng = np.random.default_rng(seed)
    total, have = holds.sum(0), np.zeros(holds.shape[1], int)
    target = total * count / len(holds)
    labeled = np.zeros(len(holds), bool)
    for _ in range(count):
        missing = (have == 0) & (total > 0)
        if missing.any():
            rarest = np.where(missing, total, len(holds) + 1).argmin()
            gain = holds[:, rarest] * holds[:, missing].sum(1)
            pool = gain == gain.max()
        else:
            deficit = (target - have) / np.where(total, target, 1)
            worst = deficit.argmax()
            pool = ~labeled
            if deficit[worst] > 0:
                # images with classes that have enough would push them over
                surplus = holds[:, deficit <= 0].sum(1)
                pool &= holds[:, worst]
                pool &= surplus == surplus[pool].min()
        image = rng.choice(np.flatnonzero(pool))
        labeled[image] = True
        have += holds[image]
    return labeled


def table(classes: Sequence[str], pixels: np.ndarray,
          labeled: np.ndarray) -> str:
    """Markdown, one row per class; then the classes that lack images."""
    width = max(map(len, classes))
    rows = [f'| {"class":{width}} | images | labelled | unlabelled | pixels '
            f'| labelled pixels |\n|{"-" * (width + 2)}|' + '--:|' * 5]
    parts = pixels, pixels[labeled], pixels[~labeled]
    images = [(part > 0).sum(0) for part in parts]
    shares = [part.sum(0) / max(part.sum(), 1) for part in parts[:2]]
    for name, whole, ours, rest, share, our_share in zip(
            classes, *images, *shares):
        rows.append(f'| {name:{width}} | {whole:6} | {ours:8} | {rest:10} | '
                    f'{share:6.2%} | {our_share:15.2%} |')
    absent = images[0] == 0
    for words, lacking in (
            ('Note: no image of the set holds', absent),
            (f'Warning: {labeled.sum()} labelled images are too few to hold',
             ~absent & (images[1] == 0))):
        if lacking.any():
            rows.append(f'{words} {", ".join(np.array(classes)[lacking])}')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'config', help='mmseg config whose train_dataloader.dataset is the '
        'whole training set, every image with its mask')
    parser.add_argument(
        '--labeled', required=True, help='share of labelled images such as '
        '1/8 or 0.125, rounded up, or their number such as 100')
    parser.add_argument(
        '--folds', type=int, default=1, help='independent draws, with the '
        'seeds SEED, SEED + 1 and so on; default 1')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all chance; default 0')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of the lists, or '
        'with several folds of their folders fold0, fold1, ...')
    args = parser.parse_args()
    if args.folds < 1 or args.seed < 0:
        parser.error('--folds must be at least 1 and --seed at least 0, got '
                     f'{args.folds} and {args.seed}')
    folders = [args.out / f'fold{i}' for i in range(args.folds)]
    if args.folds == 1:
        folders = [args.out]
    for path in (args.out, *(folder / f'{part}.txt' for folder in folders
                             for part in ('labeled', 'unlabeled'))):
        if path.is_file():
            raise SystemExit(f'{path} exists: choose another --out')

    register_all_modules()
    cfg = Config.fromfile(args.config)
    owners, images = zip(*sorted(
        build(cfg, 'train_dataloader'), key=lambda image: name_of(*image)))
    names, total = [*map(name_of, owners, images)], len(images)
    try:
        count = (int(args.labeled) if args.labeled.isdigit() else
                 ceil(Fraction(args.labeled) * total))
    except (ValueError, ZeroDivisionError):
        count = 0
    if not 0 < count < total:
        parser.error(
            '--labeled must be a share between 0 and 1 such as 1/8, or a '
            f'number of images from 1 to {total - 1}, got {args.labeled}')
    classes = owners[0].metainfo.get('classes')
    if not classes:
        raise SystemExit('train_dataloader.dataset names no classes: give it '
                         'metainfo=dict(classes=(...))')
    check_images(cfg, images)

    print(f'Reading {total} masks', flush=True)
    with ThreadPoolExecutor() as pool:
        pixels = np.stack([*pool.map(count_pixels, owners, images)])
    check_names(owners[0], names, images)
    for i, folder in enumerate(folders):
        labeled = draw(pixels > 0, count, args.seed + i)
        print(f'\n{folder}: {count} labelled, {total - count} unlabelled, '
              f'seed {args.seed + i}\n{table(classes, pixels, labeled)}')
        folder.mkdir(parents=True, exist_ok=True)
        for part, chosen in (('labeled', labeled), ('unlabeled', ~labeled)):
            path = folder / f'{part}.txt'
            write(path, [names[k] for k in np.flatnonzero(chosen)])
            print(f"{part}=dict(ann_file='{path.resolve()}', ...)")


if __name__ == '__main__':
    main()
