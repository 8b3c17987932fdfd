"""What can be wrong with data, said before a training begins."""
import os.path as osp
from io import BytesIO
from typing import Dict, Iterable, Iterator, List

import numpy as np
import torch.nn as nn
from mmengine.fileio import get
from mmseg.datasets.transforms import LoadAnnotations
from PIL import ExifTags, Image, UnidentifiedImageError
from torch.utils.data import Dataset

from .images import decode, in_threads, infos, reason, source
from .unlabeled_folder import UnlabeledFolder

FAULTS = ('unread', 'pair', 'shape', 'ids')


def class_problems(heads: Dict[str, nn.Module], kind: str,
                   dataset: Dataset) -> Iterator[str]:
    """Heads that have not as many classes as a data set."""
    classes = dataset.metainfo.get('classes')
    for name, head in heads.items():
        if classes is not None and head.num_classes != len(classes):
            yield (f'{name}.num_classes is {head.num_classes}, but the '
                   f'{kind} data set has {len(classes)} classes: '
                   f'{tuple(classes)}. Change one of them')


def image_file(info: dict) -> str:
    """The file that the image of an entry really is."""
    return osp.realpath(info['img_path'])


def leaks(kind: str, training: Dataset, validation: Dataset) -> Iterator[str]:
    """Images that stand in the validation, too."""
    held_out = {image_file(info) for _, info in infos(validation)}
    for leaf, info in infos(training):
        if image_file(info) in held_out:
            yield (f'{info["img_path"]} stands in the {kind} list '
                   f'{source(leaf)} and in the validation, perhaps not '
                   'alone: take the shared images out of one of them')


def mask_loader(leaf: Dataset) -> LoadAnnotations:
    """The transform that reads the masks of a data set.

    Raises:
        ValueError: If its pipeline has none.
    """
    for transform in leaf.pipeline.transforms:
        if isinstance(transform, LoadAnnotations):
            return transform
    raise ValueError(
        f'The pipeline of {source(leaf)} has no LoadAnnotations')


def id_problems(leaf: Dataset, info: dict,
                ids: Iterable[int]) -> Iterator[str]:
    """Ids in a mask that are no class."""
    num_classes = len(leaf.metainfo['classes'])
    wrong = [
        int(i) for i in ids if i >= num_classes and i != leaf.ignore_index
    ]
    if wrong:
        yield (f'{info["seg_map_path"]} holds the ids {wrong}, but there '
               f'are {num_classes} classes (0 to {num_classes - 1}) and '
               f'ignore_index is {leaf.ignore_index}: mend the mask, or the '
               'classes or reduce_zero_label of the data set')


def open_image(leaf: Dataset, path: str) -> Image.Image:
    """A file as it is stored, not decoded yet."""
    return Image.open(BytesIO(get(path, backend_args=leaf.backend_args)))


def turned(leaf: Dataset, info: dict) -> int:
    """The EXIF orientation that the loader applies to an image; 1 is none."""
    try:
        with open_image(leaf, info['img_path']) as image:
            loader = leaf.pipeline.transforms[0]
            if (image.format != 'TIFF' and getattr(loader, 'color_type', '')
                    in ('color_ignore_orientation', 'unchanged')):
                return 1
            way = image.getexif().get(ExifTags.Base.Orientation)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return 1
    return way if way in range(2, 9) else 1


def is_cut(leaf: Dataset, info: dict) -> bool:
    """Whether a mask has ids that mmseg, which reads 8 bits, makes others."""
    if type(mask_loader(leaf)) is not LoadAnnotations:
        return False
    with open_image(leaf, info['seg_map_path']) as mask:
        if mask.mode[0] not in 'IF':
            return False
        ids = np.asarray(mask)
    return bool((ids != ids.astype(np.uint8)).any())


def scan(kind: str, leaf: Dataset, info: dict) -> dict:
    """Read an image, and its mask if the pipeline does.

    Args:
        kind (str): 'labelled', 'unlabelled' or 'validation', for messages.
        leaf (Dataset): The data set of the image.
        info (dict): Its entry in there.

    Returns:
        dict: ``size`` of the image and ``pixels`` of each id in the mask, as
        far as they are known; else a message in ``unread``, if a file cannot
        be read, ``pair``, if the mask may not be that of the image as it is
        loaded, ``shape``, if it has not the size of the image, or ``ids``,
        if some are no class.
    """
    seen, path = dict(pixels={}), info['img_path']
    try:
        seen['size'] = (
            (info['height'], info['width'])  # it has been decoded
            if isinstance(leaf, UnlabeledFolder) else decode(leaf, info))
        if not any(isinstance(transform, LoadAnnotations)
                   for transform in leaf.pipeline.transforms):
            return seen
        way = turned(leaf, info)
        path = info.get('seg_map_path', f'the mask of {path}')
        mask = mask_loader(leaf)(info)['gt_seg_map']
        cut = is_cut(leaf, info)
    except Exception as error:
        seen['unread'] = (
            f'{path} cannot be read ({reason(error)}): mend the file, or the '
            f'list, data_prefix or suffixes of the {kind} data set')
        return seen
    height, width = seen['size']
    if osp.realpath(path) == image_file(info):
        seen['pair'] = (
            f'{path} is image and mask in one: mend the list, data_prefix or '
            f'suffixes of the {kind} data set')
    elif way > 1 and (way < 5 or height == width or mask.shape !=
                      seen['size']):
        seen['pair'] = (
            f'{info["img_path"]} is turned when it is loaded, by its EXIF '
            f'orientation {way}, but {path} is not, and may not fit: save '
            'the image upright as the mask is, without the orientation')
    elif mask.shape != seen['size'] and 1 in seen['size']:
        seen['shape'] = (
            f'{info["img_path"]} is {height} x {width}, and masks that are '
            'one pixel high or wide cannot be loaded: take it out of the '
            f'{kind} list')
    elif mask.shape != seen['size']:
        sizes = [' x '.join(map(str, s)) for s in (mask.shape, seen['size'])]
        seen['shape'] = (
            f'{path} is {sizes[0]}, but its image is {sizes[1]}: a mask has '
            'one id for each pixel of its image')
    elif cut:
        seen['ids'] = (
            f'{path} holds ids that are no whole numbers from 0 to 255, but '
            'masks are read with 8 bits: mend the mask and save it with 8')
    else:
        seen['pixels'] = dict(zip(*np.unique(mask, return_counts=True)))
        if 'classes' in leaf.metainfo:
            seen['ids'] = next(id_problems(leaf, info, seen['pixels']), None)
    return seen


def scan_all(kind: str, dataset: Dataset) -> List[dict]:
    """:func:`scan` of every entry of a data set."""
    return in_threads(lambda entry: scan(kind, *entry), infos(dataset))
