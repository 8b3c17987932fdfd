"""Draw labeled and unlabeled lists of a data set, or import published ones.

To draw, every mask is read once, as the config loads it. The labeled images
are drawn by chance so that they cover every class, the rarest first, and hold
each class about as often as the whole set does. The same seed gives the same
lists. A training image that is also in the validation or the test is refused,
and lists that exist are never overwritten.

  python tools/make_splits.py my_config.py --labeled 1/8 --folds 3 --out splits

writes splits/fold0/labeled.txt and splits/fold0/unlabeled.txt, lists for the
ann_file of a data set, and so on. Next to them are photos.txt, the paths of
the unlabeled images, for tools/init.py --unlabeled, and protocol.txt, one line
that says how the lists were made.

  python tools/make_splits.py my_config.py --import theirs.txt --out splits

writes the same files from lists that others published. Their lines are bare
names, or paths of images, with or without masks; no mask is read.
"""

import argparse
import os.path as osp
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Dict, List, Sequence, Set, Tuple

import numpy as np
from mmengine import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        help='mmseg config whose train_dataloader.dataset is the '
        'whole training set; to draw, every image needs its mask',
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        '--labeled',
        help='draw: share of labeled images such as 1/8 or '
        '0.125, rounded up, or their number such as 100',
    )
    mode.add_argument(
        '--import',
        type=Path,
        dest='published',
        metavar='LABELED.txt',
        help='published list of the labeled images',
    )
    parser.add_argument(
        '--import-unlabeled',
        type=Path,
        metavar='UNLABELED.txt',
        help='with --import; default: the other images of the data set',
    )
    parser.add_argument(
        '--folds',
        type=int,
        default=1,
        help='independent draws, with the '
        'seeds SEED, SEED + 1 and so on; default 1',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all chance; default 0'
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='folder of the lists, or '
        'with several folds of their folders fold0, fold1, ...',
    )
    args = parser.parse_args()
    if args.folds < 1 or args.seed < 0:
        parser.error(
            '--folds must be at least 1 and --seed at least 0, got '
            f'{args.folds} and {args.seed}'
        )
    if args.published and (args.folds > 1 or args.seed):
        parser.error('--folds and --seed are for --labeled')
    if args.import_unlabeled and not args.published:
        parser.error('--import-unlabeled needs --import')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

from mmengine.fileio import exists
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

from mmseg_psmt.datasets import SemiSegDataset
from mmseg_psmt.datasets.checks import is_cut
from mmseg_psmt.datasets.images import leaves, read, reason

VOC, CITYSCAPES = 10582, 2975  # images of the whole training set
VOC_OWN = 1464  # of them those that VOC has masks of: high quality
PROTOCOLS = {
    (VOC, n, n): f'high quality {n}' for n in (92, 183, 366, 732, VOC_OWN)
}
for share, n, own, city in (
    ('1/16', 662, 93, 186),
    ('1/8', 1323, 193, 372),
    ('1/4', 2646, 388, 744),
    ('1/2', 5291, 742, 1488),
):
    PROTOCOLS[VOC, n, own] = f'CPS {share}'
    PROTOCOLS[VOC, n, min(n, VOC_OWN)] = f'U2PL {share}'
    PROTOCOLS[CITYSCAPES, city, None] = f'Cityscapes {share}'


def build(cfg: Config, loader: str) -> List[Tuple[BaseSegDataset, dict]]:
    """Images that a loader reads, each with its data set."""
    try:
        dataset = DATASETS.build(cfg[loader]['dataset'])
        parts = (
            [dataset.labeled, dataset.unlabeled]
            if isinstance(dataset, SemiSegDataset)
            else [dataset]
        )
        found = [leaf for part in parts for leaf in leaves(part)]
        images = [
            (leaf, leaf.get_data_info(i))
            for leaf in found
            for i in range(len(leaf))
        ]
    except (AssertionError, KeyError, OSError, ValueError) as error:
        raise SystemExit(
            f'{loader}.dataset cannot be built, perhaps because its folder or '
            'list is missing or empty: see data_root, data_prefix, ann_file '
            f'and the suffixes. {error}'
        )
    if loader == 'train_dataloader' and len(found) != len(parts):
        raise SystemExit(
            f'{loader}.dataset joins {len(found)} data sets, and '
            'a name in a list could belong to any: draw the '
            'lists of one data set at a time'
        )
    return images


def name_of(leaf: BaseSegDataset, info: dict) -> str:
    name = osp.relpath(info['img_path'], leaf.data_prefix['img_path'])
    return name[: len(name) - len(leaf.img_suffix)]


def write(path: Path, names: Sequence[str]) -> None:
    path.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')


def write_lists(
    folder: Path,
    images: Sequence[dict],
    names: Sequence[str],
    labeled: Sequence[int],
    unlabeled: Sequence[int],
    protocol: str,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / 'protocol.txt', [protocol])
    photos = [osp.abspath(images[k]['img_path']) for k in unlabeled]
    write(folder / 'photos.txt', photos)
    for part, chosen in (('labeled', labeled), ('unlabeled', unlabeled)):
        path = folder / f'{part}.txt'
        write(path, [names[k] for k in chosen])
        print(f"{part}=dict(ann_file='{path.resolve()}', ...)")


def check_images(held_out: Dict[str, list], images: Sequence[dict]) -> None:
    """SystemExit where two images are one, or one is held out as well."""
    seen = {}
    for info in images:
        path = info['img_path']
        if seen.setdefault(osp.realpath(path), path) is not path:
            raise SystemExit(
                f'The training set holds {path} twice, the other '
                f'as {seen[osp.realpath(path)]}: take one out'
            )
    for loader, others in held_out.items():
        held = {osp.realpath(info['img_path']) for _, info in others}
        shared = [path for real, path in seen.items() if real in held]
        if shared:
            raise SystemExit(
                f'{len(shared)} training images are in {loader}, '
                f'too, such as {", ".join(shared[:3])}: take '
                'them out of one of them'
            )


def check_names(
    leaf: BaseSegDataset, names: Sequence[str], images: Sequence[dict]
) -> None:
    """SystemExit where a list without the first name gives other files."""
    for name in names:
        if name != name.strip() or re.search('[\r\n\ud800-\udfff]', name):
            raise SystemExit(
                f'{name!r} cannot stand in a list: rename its '
                'files, without line breaks, spaces at an end '
                'and bytes that are no UTF-8'
            )
    with tempfile.TemporaryDirectory() as folder:
        leaf.ann_file = osp.join(folder, 'all.txt')
        write(Path(leaf.ann_file), names[1:])
        listed = leaf.load_data_list()
    wanted, got = (
        {
            (
                osp.realpath(info['img_path']),
                osp.realpath(info.get('seg_map_path') or ''),
            )
            for info in infos
        }
        for infos in (images[1:], listed)
    )
    if got != wanted:
        raise SystemExit(
            f'{type(leaf).__name__} does not find the same files by a list of '
            f'names such as {names[0]}: it wants lists of another kind, or '
            'labeled and unlabeled have different folders or suffixes'
        )


def check_file(leaf: BaseSegDataset, info: dict) -> None:
    if not exists(info['img_path'], leaf.backend_args):
        raise SystemExit(
            f'{info["img_path"]} does not exist: fix the list, '
            'data_prefix or img_suffix'
        )


def count_pixels(leaf: BaseSegDataset, info: dict) -> np.ndarray:
    """Pixels of each class in one mask; SystemExit where a file is wrong."""
    image, mask = info['img_path'], info.get('seg_map_path')
    check_file(leaf, info)
    try:
        ids = read(leaf, info).get('gt_seg_map')
    except Exception as error:
        raise SystemExit(
            f'{mask}, the mask of {image}, cannot be read: fix '
            f'it, data_prefix or seg_map_suffix. {error!r}'
        )
    if ids is None:
        raise SystemExit(
            f'The pipeline of {image} makes no gt_seg_map, as '
            'LoadAnnotations does, but the masks of all '
            'training images are needed'
        )
    if is_cut(leaf, info):
        raise SystemExit(
            f'{mask} holds ids that are no whole numbers from 0 '
            'to 255, but masks are read with 8 bits: fix it'
        )
    classes = len(leaf.metainfo['classes'])
    counts = np.bincount(ids[ids != leaf.ignore_index], minlength=classes)
    wrong = classes + np.flatnonzero(counts[classes:])
    if len(wrong):
        raise SystemExit(
            f'{mask} holds the ids {wrong.tolist()}, but there are {classes} '
            f'classes (0 to {classes - 1}) and ignore_index is '
            f'{leaf.ignore_index}: fix the mask, or the classes or '
            'reduce_zero_label of the data set'
        )
    return counts


def draw(holds: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which images are labeled; ``holds`` is (images, classes)."""
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


def table(
    classes: Sequence[str], pixels: np.ndarray, labeled: np.ndarray
) -> str:
    """Markdown, one row per class; then the classes that lack images."""
    width = max(map(len, classes))
    rows = [
        f'| {"class":{width}} | images | labeled | unlabeled | pixels '
        f'| labeled pixels |\n|{"-" * (width + 2)}|' + '--:|' * 5
    ]
    parts = pixels, pixels[labeled], pixels[~labeled]
    images = [(part > 0).sum(0) for part in parts]
    shares = [part.sum(0) / max(part.sum(), 1) for part in parts[:2]]
    for name, whole, ours, rest, share, our_share in zip(
        classes, *images, *shares
    ):
        rows.append(
            f'| {name:{width}} | {whole:6} | {ours:8} | {rest:10} | '
            f'{share:6.2%} | {our_share:15.2%} |'
        )
    absent = images[0] == 0
    for words, lacking in (
        ('Note: no image of the set holds', absent),
        (
            f'Warning: {labeled.sum()} labeled images are too few to hold',
            ~absent & (images[1] == 0),
        ),
    ):
        if lacking.any():
            rows.append(f'{words} {", ".join(np.array(classes)[lacking])}')
    return '\n'.join(rows)


def file_names(leaf: BaseSegDataset, info: dict) -> Tuple[str, str]:
    """File name of an image, with and without img_suffix."""
    name = osp.basename(info['img_path'])
    return name, name[: len(name) - len(leaf.img_suffix)]


def image_in(line: str, files: Set[str]) -> str:
    """The line, or what is before the mask in it.

    Names may hold spaces, so that it is cut at each, the last first.
    """
    for gap in reversed([*re.finditer(r'\s+', line)]):
        if osp.basename(line[: gap.start()]) in files:
            return line[: gap.start()]
    return line


def read_list(
    path: Path,
    known: Dict[str, int],
    held: Dict[str, str],
    files: Set[str],
    seen: Dict[int, str],
) -> List[int]:
    """Indices of the listed images; SystemExit where a line is wrong."""
    try:
        lines = path.read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f'{path} cannot be read as a list of images: {error}')
    chosen = []
    for i, line in enumerate(lines, 1):
        name, where = line.strip(), f'line {i} of {path}'
        if not name:
            continue
        if not any(osp.basename(name) in names for names in (known, held)):
            name = image_in(name, files)
        file = osp.basename(name)
        if file in held:
            raise SystemExit(
                f'{name}, {where}, is {held[file]}: take it out, '
                'or rename one if a training image is meant'
            )
        if file not in known:
            raise SystemExit(
                f'{name}, {where}, is no image of train_dataloader.dataset, '
                f'which has such as {next(iter(known))}: fix the line, add '
                'the image, or see ann_file, data_prefix and img_suffix'
            )
        if seen.setdefault(known[file], where) is not where:
            raise SystemExit(
                f'{name}, {where}, is in {seen[known[file]]}, '
                'too: take one out'
            )
        chosen.append(known[file])
    if not chosen:
        raise SystemExit(f'{path} names no image: give another list')
    return sorted(chosen)


def protocol_of(leaf: BaseSegDataset, names: Sequence[str], used: int) -> str:
    """Whose split it is, by the counts; ``names`` are the labeled images."""
    high = None
    if used == VOC:
        path = Path(leaf.data_root or '', 'ImageSets/Segmentation/train.txt')
        own = set(path.read_text().split()) if path.is_file() else ()
        if len(own) == VOC_OWN:
            high = sum(osp.basename(name) in own for name in names)
            print(f'{high} labeled images are of high quality')
        else:
            print(
                'How many labeled images are of high quality cannot be '
                f'told: {path} does not list the {VOC_OWN} of VOC 2012'
            )
    found = PROTOCOLS.get(
        (used, len(names), high), f'unknown lists, {len(names)} labeled'
    )
    print(f'Protocol: {found}')
    if found == 'high quality 732':
        print(
            'Two such lists are in circulation and share only 371 names: '
            'which of them this is cannot be told from counts'
        )
    return found


def import_lists(
    args: argparse.Namespace,
    owners: Sequence[BaseSegDataset],
    images: Sequence[dict],
    names: Sequence[str],
    held_out: Dict[str, list],
) -> None:
    known, seen = {}, {}
    for k, image in enumerate(zip(owners, images)):
        check_file(*image)
        for file in file_names(*image):
            if known.setdefault(file, k) != k:
                raise SystemExit(
                    f'{names[known[file]]} and {names[k]} have '
                    'the same file name, by which lists are '
                    'read: rename one'
                )
    held = {
        file: f'{image[1]["img_path"]} of {loader}'
        for loader, others in held_out.items()
        for image in others
        for file in file_names(*image)
    }
    entries = [
        *zip(owners, images),
        *(image for others in held_out.values() for image in others),
    ]
    files = {file_names(*image)[0] for image in entries}
    labeled = read_list(args.published, known, held, files, seen)
    unlabeled = (
        read_list(args.import_unlabeled, known, held, files, seen)
        if args.import_unlabeled
        else [k for k in range(len(names)) if k not in seen]
    )
    if not unlabeled:
        raise SystemExit(
            f'{args.published} names all {len(names)} images of '
            'the data set: no unlabeled one is left'
        )
    check_names(owners[0], names, images)
    used = len(labeled) + len(unlabeled)
    print(
        f'{args.out}: {len(labeled)} labeled, {len(unlabeled)} unlabeled, '
        f'{len(names) - used} in neither list'
    )
    write_lists(
        args.out,
        images,
        names,
        labeled,
        unlabeled,
        protocol_of(owners[0], [names[k] for k in labeled], used),
    )


def main() -> None:
    args = parse_args()
    folders = [args.out / f'fold{i}' for i in range(args.folds)]
    if args.folds == 1:
        folders = [args.out]
    parts = 'labeled', 'unlabeled', 'photos', 'protocol'
    for path in (
        args.out,
        *(folder / f'{part}.txt' for folder in folders for part in parts),
    ):
        if path.is_file():
            raise SystemExit(f'{path} exists: choose another --out')
    for path in args.out.parents:
        if path.is_file():
            raise SystemExit(f'{path} is not a folder: choose another --out')

    register_all_modules()
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:
        raise SystemExit(f'{args.config} is not a config: {reason(error)}')
    owners, images = zip(
        *sorted(
            build(cfg, 'train_dataloader'), key=lambda image: name_of(*image)
        )
    )
    names, total = [*map(name_of, owners, images)], len(images)
    held_out = {
        loader: build(cfg, loader)
        for loader in ('val_dataloader', 'test_dataloader')
        if cfg.get(loader)
    }
    check_images(held_out, images)
    if args.published:
        import_lists(args, owners, images, names, held_out)
        return
    try:
        count = (
            int(args.labeled)
            if args.labeled.isdigit()
            else ceil(Fraction(args.labeled) * total)
        )
    except (ValueError, ZeroDivisionError):
        count = 0
    if not 0 < count < total:
        raise SystemExit(
            '--labeled must be a share between 0 and 1 such as 1/8, or a '
            f'number of images from 1 to {total - 1}, got {args.labeled}'
        )
    classes = owners[0].metainfo.get('classes')
    if not classes:
        raise SystemExit(
            'train_dataloader.dataset names no classes: give it '
            'metainfo=dict(classes=(...))'
        )

    print(f'Reading {total} masks', flush=True)
    with ThreadPoolExecutor() as pool:
        pixels = np.stack([*pool.map(count_pixels, owners, images)])
    check_names(owners[0], names, images)
    for i, folder in enumerate(folders):
        labeled = draw(pixels > 0, count, args.seed + i)
        print(
            f'\n{folder}: {count} labeled, {total - count} unlabeled, '
            f'seed {args.seed + i}\n{table(classes, pixels, labeled)}'
        )
        write_lists(
            folder,
            images,
            names,
            np.flatnonzero(labeled),
            np.flatnonzero(~labeled),
            f'seeded, seed {args.seed + i}',
        )


if __name__ == '__main__':
    main()
