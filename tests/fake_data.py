"""Small data sets: drawn images in the real layout."""

import io
import json
import tarfile
import zipfile
from contextlib import redirect_stdout
from math import ceil
from pathlib import Path
from typing import Iterable
from unittest import mock

import numpy as np
from mmseg.datasets import CityscapesDataset, PascalVOCDataset
from PIL import Image, ImageDraw

VOC_SIZES = ((500, 375), (375, 500), (500, 333), (334, 500))
# Label and train id of each class that Cityscapes evaluates, and of some void.
CITY_IDS = {
    'road': (7, 0),
    'sidewalk': (8, 1),
    'building': (11, 2),
    'wall': (12, 3),
    'fence': (13, 4),
    'pole': (17, 5),
    'traffic light': (19, 6),
    'traffic sign': (20, 7),
    'vegetation': (21, 8),
    'terrain': (22, 9),
    'sky': (23, 10),
    'person': (24, 11),
    'rider': (25, 12),
    'car': (26, 13),
    'truck': (27, 14),
    'bus': (28, 15),
    'train': (31, 16),
    'motorcycle': (32, 17),
    'bicycle': (33, 18),
    'unlabeled': (0, 255),
    'ego vehicle': (1, 255),
    'parking': (9, 255),
}


def write_list(path: Path, names: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{name}\n' for name in names))


def write_split(folder: Path, names: list[str]) -> None:
    """An eighth of the names in labeled.txt, the others in unlabeled.txt."""
    num = ceil(len(names) / 8)
    write_list(folder / 'semi/1_8/labeled.txt', names[:num])
    write_list(folder / 'semi/1_8/unlabeled.txt', names[num:])


def save_photo(path: Path, ids: np.ndarray, palette: list) -> None:
    """Noise around the color of each class."""
    colors = np.full((256, 3), 128)
    colors[: len(palette)] = palette
    noise = np.random.default_rng(0).integers(-30, 31, (*ids.shape, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((colors[ids] + noise).clip(0, 255).astype(np.uint8)).save(
        path
    )


def fake_shapes(
    out: Path, num_train: int, num_val: int, size: int = 64
) -> None:
    """Draw with ``make_shapes.py``, in this process of pytest."""
    import make_shapes

    words = ['make_shapes.py', '--out', out]
    words += ['--num-train', num_train, '--num-val', num_val, '--size', size]
    with (
        mock.patch('sys.argv', list(map(str, words))),
        redirect_stdout(io.StringIO()),
    ):
        make_shapes.main()


def voc_mask(index: int, void: bool) -> Image.Image:
    """Two objects on background; VOC rims them with 255, SBD does not."""
    width, height = VOC_SIZES[index % len(VOC_SIZES)]
    mask = Image.new('P', (width, height))
    draw = ImageDraw.Draw(mask)
    palette = np.zeros((256, 3), np.uint8)
    palette[:21] = PascalVOCDataset.METAINFO['palette']
    palette[255] = 224, 224, 192
    mask.putpalette(palette.ravel().tolist())
    for left, label in ((0.1, 2 * index % 20 + 1), (0.55, 2 * index % 20 + 2)):
        box = [left * width, 0.2 * height, (left + 0.35) * width, 0.8 * height]
        draw.ellipse(box, label, *([255, 5] if void else []))
    return mask


def fake_voc(root: Path, num_train: int = 16, num_val: int = 4) -> Path:
    """Draw VOC 2012 as the configs read it, SBD included.

    Args:
        root (Path): Folder of all data sets, such as ``data``.
        num_train (int): Images in trainaug.txt; the first half of them, with
            masks of VOC, is also in train.txt, the rest in aug.txt.
        num_val (int): Images in val.txt.

    Returns:
        Path: ``root/VOCdevkit/VOC2012``.
    """
    voc = Path(root) / 'VOCdevkit/VOC2012'
    num_own = ceil(num_train / 2)
    train = [f'2007_{i:06d}' for i in range(num_own)]
    aug = [f'2008_{i:06d}' for i in range(num_train - num_own)]
    val = [f'2011_{i:06d}' for i in range(num_val)]
    for i, name in enumerate(train + val + aug):
        mask = voc_mask(i, void=name not in aug)
        save_photo(
            voc / f'JPEGImages/{name}.jpg',
            np.array(mask),
            PascalVOCDataset.METAINFO['palette'],
        )
        for folder in ('SegmentationClass', 'SegmentationClassAug'):
            path = voc / folder / f'{name}.png'
            path.parent.mkdir(exist_ok=True)
            if folder.endswith('Aug'):
                Image.fromarray(np.array(mask)).save(path)
            elif name not in aug:
                mask.save(path)
    lists = voc / 'ImageSets/Segmentation'
    for part, names in dict(
        train=train,
        val=val,
        trainval=train + val,
        aug=aug,
        trainaug=train + aug,
    ).items():
        write_list(lists / f'{part}.txt', names)
    write_split(lists, train + aug)
    return voc


def draw_polygons(source: str, target: str, encoding: str) -> None:
    """What json2labelImg of cityscapesscripts does."""
    content = json.loads(Path(source).read_text())
    column = ('ids', 'trainIds').index(encoding)
    size = content['imgWidth'], content['imgHeight']
    mask = Image.new('L', size, CITY_IDS['unlabeled'][column])
    for item in content['objects']:
        ImageDraw.Draw(mask).polygon(
            [tuple(point) for point in item['polygon']],
            CITY_IDS[item['label']][column],
        )
    mask.save(target)


def fake_cityscapes(
    root: Path,
    num_train: int = 8,
    num_val: int = 2,
    size: tuple[int, int] = (2048, 1024),
) -> Path:
    """Draw Cityscapes as the configs read it.

    Args:
        root (Path): Folder of all data sets, such as ``data``.
        num_train (int): Images of aachen and bochum.
        num_val (int): Images of frankfurt.
        size (tuple[int, int]): Width and height.

    Returns:
        Path: ``root/cityscapes``, with polygons, ``_labelIds.png`` and
        ``_labelTrainIds.png``.
    """
    city = Path(root) / 'cityscapes'
    towns = ['aachen'] * ceil(num_train / 2) + ['bochum'] * (num_train // 2)
    names = [f'{town}/{town}_{i:06d}_000019' for i, town in enumerate(towns)]
    held_out = [
        f'frankfurt/frankfurt_000000_{294 + i:06d}' for i in range(num_val)
    ]
    labels = [*CITY_IDS]
    width, height = size
    for i, name in enumerate(names + held_out):
        part = 'train' if name in names else 'val'
        gt = city / f'gtFine/{part}/{name}_gtFine'
        gt.parent.mkdir(parents=True, exist_ok=True)
        objects = [
            dict(
                label='road',
                polygon=[
                    [0, height // 2],
                    [width, height // 2],
                    [width, height],
                    [0, height],
                ],
            )
        ]
        for k in range(5):
            left, right = width * k // 5, width * (k + 1) // 5 - width // 20
            label = labels[(5 * i + k) % len(labels)]
            objects.append(
                dict(
                    label=label,
                    polygon=[
                        [left, height // 4],
                        [right, height // 5],
                        [right, height * 2 // 3],
                        [left, height * 3 // 4],
                    ],
                )
            )
        polygons = Path(f'{gt}_polygons.json')
        polygons.write_text(
            json.dumps(dict(imgHeight=height, imgWidth=width, objects=objects))
        )
        draw_polygons(polygons, f'{gt}_labelIds.png', 'ids')
        draw_polygons(polygons, f'{gt}_labelTrainIds.png', 'trainIds')
        save_photo(
            city / f'leftImg8bit/{part}/{name}_leftImg8bit.png',
            np.array(Image.open(f'{gt}_labelTrainIds.png')),
            CityscapesDataset.METAINFO['palette'],
        )
    write_split(city, names)
    return city


def voc_archives(
    folder: Path, num_train: int = 16, num_val: int = 4
) -> tuple[Path, Path]:
    """The archives of VOC and of SBD, as one downloads them.

    As in reality, SBD has masks of its own for some images of VOC. Needs
    scipy.
    """
    from scipy.io import savemat

    voc = fake_voc(folder / 'drawn', num_train, num_val)
    lists = voc / 'ImageSets/Segmentation'
    names = [
        (lists / f'{part}.txt').read_text().split()
        for part in ('train', 'val', 'aug')
    ]
    mats = folder / 'drawn/benchmark_RELEASE/dataset/cls'
    mats.mkdir(parents=True)
    for name in [names[0][0], names[1][0], *names[2]]:
        mask = np.array(Image.open(voc / f'SegmentationClassAug/{name}.png'))
        if name not in names[2]:
            mask[:] = 20
        savemat(
            mats / f'{name}.mat',
            dict(
                GTcls=dict(
                    Segmentation=mask, CategoriesPresent=np.unique(mask)
                )
            ),
        )
    archives = (
        folder / 'VOCtrainval_11-May-2012.tar',
        folder / 'benchmark.tgz',
    )
    with tarfile.open(archives[0], 'w') as file:
        for part in ('JPEGImages', 'SegmentationClass'):
            file.add(voc / part, f'VOCdevkit/VOC2012/{part}')
        for part in ('train', 'val', 'trainval'):
            file.add(
                lists / f'{part}.txt',
                f'VOCdevkit/VOC2012/ImageSets/Segmentation/{part}.txt',
            )
    with tarfile.open(archives[1], 'w:gz') as file:
        file.add(mats.parents[1], 'benchmark_RELEASE')
    return archives


def cityscapes_archives(
    folder: Path,
    num_train: int = 8,
    num_val: int = 2,
    size: tuple[int, int] = (2048, 1024),
) -> tuple[Path, Path]:
    """The archives of annotations, without train ids, and of images."""
    city = fake_cityscapes(folder / 'drawn', num_train, num_val, size)
    archives = []
    for name in ('gtFine', 'leftImg8bit'):
        archives.append(folder / f'{name}_trainvaltest.zip')
        with zipfile.ZipFile(archives[-1], 'w') as file:
            for path in sorted((city / name).rglob('*.*')):
                if 'labelTrainIds' not in path.name:
                    file.write(path, path.relative_to(city))
    return tuple(archives)
