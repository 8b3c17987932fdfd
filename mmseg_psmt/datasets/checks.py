"""What can be wrong with data, said before a training begins."""

import os.path as osp
import re
from collections import defaultdict
from functools import cache
from hashlib import blake2b
from io import BytesIO
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import numpy as np
import torch
import torch.nn as nn
from mmengine.dataset import pseudo_collate
from mmengine.fileio import get
from mmseg.datasets.transforms import LoadAnnotations
from PIL import ExifTags, Image, UnidentifiedImageError
from torch.utils.data import Dataset

from .images import (
    DECODING,
    decode,
    in_threads,
    infos,
    leaves,
    load,
    loading,
    read,
    reads_masks,
    reason,
    source,
)
from .memory import Memory
from .probes import (
    fills,
    mask_problems,
    step_problems,
    survives,
    view_problems,
)
from .semi_dataset import SemiSegDataset
from .unlabeled_folder import UnlabeledFolder

FAULTS = ('unread', 'pair', 'shape', 'ids')


def class_problems(
    heads: Dict[str, nn.Module], kind: str, dataset: Dataset
) -> Iterator[str]:
    """Heads that have not as many classes as a data set, or a part of it."""
    found = [tuple(x.metainfo.get('classes') or ()) for x in leaves(dataset)]
    for classes in dict.fromkeys(found):
        if not classes:
            yield (
                f'The {kind} data set has no classes: give it '
                'metainfo=dict(classes=..., palette=...)'
            )
            continue
        for name, head in heads.items():
            if head.num_classes != len(classes):
                yield (
                    f'{name}.num_classes is {head.num_classes}, but the '
                    f'{kind} data set has {len(classes)} classes: '
                    f'{classes}. Change one of them'
                )


def image_file(info: dict) -> str:
    """The file that the image of an entry really is."""
    return osp.realpath(info['img_path'])


def leaks(kind: str, training: Dataset, validation: Dataset) -> Iterator[str]:
    """Images of which the validation has the file, or a copy."""
    held_out = {image_file(info) for _, info in infos(validation)}
    sizes = defaultdict(list)
    for path in held_out:
        sizes[_size(path)].append(path)
    digest = cache(_digest)
    for leaf, info in infos(training):
        path = image_file(info)
        if path in held_out:
            yield (
                f'{info["img_path"]} is in the {kind} list {source(leaf)} '
                'and in the validation, and others may be: take the shared '
                'images out of one of them'
            )
            continue
        size = _size(path)
        twin = size and next(
            (
                other
                for other in sizes.get(size, ())
                if digest(other) == digest(path)
            ),
            None,
        )
        if twin:
            yield (
                f'{info["img_path"]} of the {kind} list {source(leaf)} is '
                f'a copy of {twin} of the validation: take the shared '
                'images out of one of them'
            )


def _size(path: str) -> Optional[int]:
    """Bytes of a local file; equal contents have equal sizes."""
    return osp.getsize(path) if osp.isfile(path) else None


def _digest(path: str) -> bytes:
    with open(path, 'rb') as file:
        return blake2b(file.read()).digest()


def agreement_problems(parts: Dict[str, Dataset]) -> Iterator[str]:
    """Classes and label ids on which the labeled images and others differ.

    Args:
        parts (dict[str, Dataset]): ``labeled`` and others by their kind.
    """
    ours = next(leaves(parts['labeled']))
    for kind, part in parts.items():
        for leaf in leaves(part):
            if kind == 'unlabeled' and not reads_masks(leaf.pipeline):
                continue
            yield from _disagreement(ours, kind, leaf)


def _disagreement(ours: Dataset, kind: str, leaf: Dataset) -> Iterator[str]:
    mine, theirs = (
        [*map(str, dataset.metainfo.get('classes') or ())]
        for dataset in (ours, leaf)
    )
    plain = [
        [re.sub(r'[\s_-]+', ' ', name).casefold() for name in names]
        for names in (mine, theirs)
    ]
    # other numbers of classes are compared with the heads
    if len(mine) == len(theirs) and plain[0] != plain[1]:
        i = next(i for i, pair in enumerate(zip(*plain)) if len({*pair}) > 1)
        yield (
            f'Class {i} is {mine[i]!r} in the labeled data set, but '
            f'{theirs[i]!r} in the {kind} one {source(leaf)}'
            + (
                ', which has the same classes in another order'
                if {*plain[0]} == {*plain[1]}
                else ''
            )
            + ': give both the same metainfo.classes, in the order of the '
            'ids in their masks'
        )
    if leaf.reduce_zero_label != ours.reduce_zero_label:
        yield (
            f'reduce_zero_label is {ours.reduce_zero_label} for the '
            f'labeled data set, but {leaf.reduce_zero_label} for the '
            f'{kind} one {source(leaf)}: their ids differ by one. Set it '
            'alike, and convert masks that are stored otherwise'
        )


def ignore_problems(
    heads: Dict[str, nn.Module],
    seg_pad_val: Optional[int],
    labeled: Dataset,
    scanned: List[dict],
) -> Iterator[str]:
    """Ids that mean "ignored" in the labeled data, and a class to a head.

    Args:
        heads (dict[str, nn.Module]): Those that predict classes, by name.
        seg_pad_val (int | None): Id that the data preprocessor pads with.
        labeled (Dataset): The labeled images.
        scanned (list[dict]): What :func:`scan` saw in them.
    """
    masks = _ignored(scanned)
    filled = fills(labeled)
    for name, head in heads.items():
        ignored = getattr(head, 'ignore_index', None)
        if ignored is None:
            continue
        remedy = f'{name}.ignore_index is {ignored}: set them alike'
        for value in masks - {ignored}:
            yield (
                f'The labeled masks hold {value}, their ignore_index, but '
                f'{remedy}'
            )
        if seg_pad_val not in (None, ignored, *range(head.num_classes)):
            yield (
                'model.data_preprocessor.seg_pad_val pads masks with '
                f'{seg_pad_val}, but {remedy}'
            )
        for value, step in filled.items():
            if value != ignored and value >= head.num_classes:
                yield (
                    f'{step} in the labeled pipeline fills masks with '
                    f'{value}, but {remedy}'
                )


def metric_problems(
    ignored: Iterable[int], scanned: List[dict]
) -> Iterator[str]:
    """Ids that validation masks ignore and a metric does not.

    Args:
        ignored (Iterable[int]): ``ignore_index`` of each metric.
        scanned (list[dict]): What :func:`scan` saw in the validation.
    """
    masks = _ignored(scanned)
    for value in ignored:
        for other in masks - {value}:
            yield (
                f'The validation masks hold {other}, their ignore_index, '
                f'but val_evaluator.ignore_index is {value}: set them '
                'alike'
            )


def _ignored(scanned: List[dict]) -> Set[int]:
    return {seen['ignored'] for seen in scanned if 'ignored' in seen}


def lone_class_problems(
    kind: str, dataset: Dataset, scanned: List[dict]
) -> Iterator[str]:
    """Masks of one class and ignored pixels, as binary ones of 0 and 255.

    Args:
        kind (str): 'labeled' or 'validation', for messages.
        dataset (Dataset): That of the masks.
        scanned (list[dict]): What :func:`scan` saw in it.
    """
    ignored = _ignored(scanned)
    ids = {i for seen in scanned for i in seen['pixels']} - ignored
    classes = dataset.metainfo.get('classes') or ()
    if len(ids) == 1 and ignored and len(classes) > 1:
        (one,), value = ids, max(ignored)
        yield (
            f'All {kind} masks hold {one} ({_at(classes, one)}) and {value} '
            f'alone, and {value} is ignored: no class can be told apart. If '
            f'{value} is a class, as in binary masks of 0 and 255, save it '
            f'as {1 - min(one, 1)}'
        )


def _at(names: Sequence[str], i: int) -> str:
    return names[i] if i < len(names) else 'no class'


def pipeline_problems(
    pairs: SemiSegDataset, validation: Optional[Dataset] = None
) -> Iterator[str]:
    """Faults of transforms, found by what they do to images.

    Args:
        pairs (SemiSegDataset): The images to train on.
        validation (Dataset, optional): Those to validate on.
    """
    parts = dict(labeled=pairs.labeled, unlabeled=pairs.unlabeled)
    if validation is not None:
        parts['validation'] = validation
    unsuited = [
        problem
        for kind, part in parts.items()
        for problem in step_problems(kind, part)
    ]
    yield from unsuited
    if unsuited:  # what it made of the probes tells no more
        return
    yield from view_problems(pairs.unlabeled)
    yield from mask_problems(pairs.labeled)
    # ids that no class has tell those of the probe from what is filled
    for value, step in fills(pairs.unlabeled, first=250).items():
        if value <= pairs.num_classes:
            yield (
                f'{step} in the unlabeled pipeline fills masks with {value}, '
                'so that what it fills counts as image: have it fill them '
                'with 255 (seg_pad_val, or pad_val=dict(seg=255) of Pad)'
            )


LARGE = 2**26  # bytes of a batch that is looked at; as float32 four times


def extremes(dataset: Dataset, scanned: Sequence[dict] = ()) -> List[int]:
    """Entries by which a data set is known not to suit one batch.

    Args:
        dataset (Dataset): Any part.
        scanned (Sequence[dict]): What :func:`scan` saw in it. What is empty
            leaves the sizes that the entries tell.

    Returns:
        list[int]: The first image, those of the least and the greatest
        height and width, and the first of each depth; at most 12.
    """
    entries = [info for _, info in infos(dataset)]
    found, sizes, depths = {0: None}, {}, {}
    for i, info in enumerate(entries[: len(dataset)]):
        seen = {**info, **(scanned[i] if i < len(scanned) else {})}
        if 'size' not in seen and 'height' in seen:
            seen['size'] = seen['height'], seen['width']
        if 'size' in seen:
            sizes[i] = seen['size']
        if seen.get('depth'):
            depths.setdefault(seen['depth'], i)
    for side in (0, 1) if sizes else ():
        for extreme in min, max:
            found[extreme(sizes, key=lambda i: sizes[i][side])] = None
    return [*{**dict.fromkeys(depths.values()), **found}][:12]


def batch_problems(
    pairs: SemiSegDataset,
    preprocess: Callable,
    one_pass: bool,
    patch: int = 1,
    scanned: Optional[Dict[str, List[dict]]] = None,
    validation: Optional[Dataset] = None,
) -> Iterator[str]:
    """Reasons why some pairs, of extreme sizes, cannot be a batch.

    Args:
        pairs (SemiSegDataset): The images to train on.
        preprocess (Callable): ``data_preprocessor`` of the model.
        one_pass (bool): Whether labeled and unlabeled images are joined.
        patch (int): Pixels on the side of a patch of the backbone.
        scanned (dict[str, list[dict]], optional): What :func:`scan` saw, by
            the kind of images.
        validation (Dataset, optional): Images to validate on.
    """
    scanned, few, size = scanned or {}, [], 0
    chosen = [
        extremes(getattr(pairs, kind), scanned.get(kind, ()))
        for kind in ('labeled', 'unlabeled')
    ]
    try:
        while len(few) < max(4, *map(len, chosen)) and size < LARGE:
            i = len(few)
            labeled, unlabeled = (
                part[i] if i < len(part) else i % num
                for part, num in zip(chosen, (len(pairs.labeled), len(pairs)))
            )
            few.append(pairs[labeled, unlabeled, (0, i)])
            size += sum(view['inputs'].nbytes for view in few[-1].values())
        batch = preprocess(pseudo_collate(few), training=True)['inputs']
    except Exception as error:
        yield (
            f'no batch can be made ({reason(error)}{_unlike(few)}): fix the '
            'pipelines or model.data_preprocessor'
        )
        return
    shapes = [tuple(batch[name].shape[1:]) for name in ('labeled', 'strong')]
    height, width = shapes[0][1:]
    if height % patch or width % patch:
        yield (
            f'Images enter the model as {height} x {width}, which is no '
            f'multiple of the patches of {patch} x {patch} of its '
            'backbone: set crop_size of RandomCrop and '
            f'model.data_preprocessor.size to {height // patch * patch} x '
            f'{width // patch * patch}'
        )
    if shapes[0][0] != shapes[1][0]:
        yield (
            f'Labeled images have {shapes[0][0]} channels, unlabeled '
            f'{shapes[1][0]}: load both alike, by color_type of '
            'LoadImageFromFile'
        )
        return
    if one_pass and shapes[0] != shapes[1]:
        sizes = ['{} x {}'.format(*shape[1:]) for shape in shapes]
        yield (
            f'Labeled images enter the model as {sizes[0]}, unlabeled as '
            f'{sizes[1]}, but model.one_pass joins them: give both '
            'pipelines the same crop_size, or set model.one_pass=False'
        )
    views = [item[name] for item in few for name in ('labeled', 'weak')]
    if validation is not None:
        views += [
            validation[i]
            for i in extremes(validation, scanned.get('validation', ()))[:4]
        ]
    yield from _depths(views)


def _unlike(few: List[dict]) -> str:
    """Two images of one view that leave a pipeline in other shapes."""
    for name in few[0] if few else ():
        first, *others = (item[name] for item in few)
        for other in others:
            if other['inputs'].shape != first['inputs'].shape:
                words = (
                    f'{x["data_samples"].img_path} is '
                    f'{" x ".join(map(str, x["inputs"].shape))}'
                    for x in (first, other)
                )
                return f'; in view {name!r} {", ".join(words)}'
    return ''


def _depths(views: Sequence[dict]) -> Iterator[str]:
    """Images whose numbers mean other grays than those of the first do."""

    def kind(view: dict) -> Tuple[int, torch.dtype]:
        return len(view['inputs']), view['inputs'].dtype

    # of floats nobody knows the range; several augmentations are a list
    whole = [
        x
        for x in views
        if isinstance(x['inputs'], torch.Tensor)
        and not x['inputs'].dtype.is_floating_point
    ]
    for view in whole:
        if kind(view) != kind(whole[0]):
            words = (
                f'{x["data_samples"].img_path} enters with {kind(x)[0]} '
                f'channels in {str(kind(x)[1]).removeprefix("torch.")}'
                for x in (whole[0], view)
            )
            yield (
                f'{", but ".join(words)}: load all images alike, by '
                'color_type of LoadImageFromFile, or convert the files'
            )
            return


MASK_NAMES = re.compile(
    r'(.*[\W_])?(mask|label|annotation|segmentation|seg|gt|gtfine|'
    r'groundtruth|ground_truth|labelids|labeltrainids|segmentationclass)'
    r's?\d*',
    re.IGNORECASE,
)


def photo_warnings(unlabeled: Dataset, *others: Dataset) -> Iterator[str]:
    """Unlabeled images that may be masks.

    Args:
        unlabeled (Dataset): Up to 200 of its images that are no JPEG are
            decoded.
        *others (Dataset): Those with masks.
    """
    masks = {
        osp.realpath(info['seg_map_path'])
        for other in others
        for _, info in infos(other)
        if info.get('seg_map_path')
    }
    paths = [info['img_path'] for _, info in infos(unlabeled)]
    suffixes = defaultdict(set)
    for path in paths:
        stem, suffix = osp.splitext(osp.basename(path))
        suffixes[stem].add(suffix.lower())
    drawn = [
        path for path in paths if not path.lower().endswith(('.jpg', '.jpeg'))
    ]
    drawn = drawn[:: -(-len(drawn) // 200) or 1]
    kinds = {
        'are masks of other images': [
            path for path in paths if osp.realpath(path) in masks
        ],
        'are named like masks': [
            path
            for path in paths
            if MASK_NAMES.fullmatch(osp.splitext(osp.basename(path))[0])
            or MASK_NAMES.fullmatch(osp.basename(osp.dirname(path)))
        ],
        'have the name of a photo, but for the suffix, as masks do': [
            path
            for path in paths
            for stem, suffix in [osp.splitext(osp.basename(path))]
            if len(suffixes[stem]) > 1
            and suffix.lower() not in ('.jpg', '.jpeg')
        ],
        'are of few flat colors, as masks are': [
            path
            for path, few in zip(drawn, in_threads(_is_flat, drawn))
            if few
        ],
    }
    for what, found in kinds.items():
        if found:
            yield (
                f'{len(found)} of the unlabeled images {what}: '
                f'{", ".join(found[:3])}{", ..." * (len(found) > 3)}. If '
                'they are masks, take them out of images'
            )


def _is_flat(path: str) -> bool:
    try:
        with (
            Image.open(path) as image,
            DECODING.spend(4 * image.width * image.height),
        ):
            if image.mode[0] in 'IF':
                return len(np.unique(np.asarray(image))) <= 32
            return image.getcolors(32) is not None
    except Exception:  # decoders raise whatever they like
        return False


def id_problems(
    leaf: Dataset, info: dict, ids: Iterable[int]
) -> Iterator[str]:
    """Ids in a mask that are no class."""
    num_classes = len(leaf.metainfo['classes'])
    wrong = [
        int(i) for i in ids if i >= num_classes and i != leaf.ignore_index
    ]
    if wrong:
        yield (
            f'{info["seg_map_path"]} holds the ids {wrong}, but there '
            f'are {num_classes} classes (0 to {num_classes - 1}) and '
            f'ignore_index is {leaf.ignore_index}: fix the mask, or the '
            'classes or reduce_zero_label of the data set'
        )


def open_image(leaf: Dataset, path: str) -> Image.Image:
    """A file as it is stored, not decoded yet."""
    return Image.open(BytesIO(get(path, backend_args=leaf.backend_args)))


def turned(leaf: Dataset, info: dict) -> int:
    """The EXIF orientation that the loader applies to an image; 1 is none."""
    try:
        with open_image(leaf, info['img_path']) as image:
            loader = leaf.pipeline.transforms[0]
            if image.format != 'TIFF' and getattr(
                loader, 'color_type', ''
            ) in ('color_ignore_orientation', 'unchanged'):
                return 1
            way = image.getexif().get(ExifTags.Base.Orientation)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return 1
    return way if way in range(2, 9) else 1


def is_cut(leaf: Dataset, info: dict) -> bool:
    """Whether a mask has ids that do not fit the 8 bits that mmseg reads."""
    if not any(
        type(step) is LoadAnnotations for step in leaf.pipeline.transforms
    ):
        return False
    with open_image(leaf, info['seg_map_path']) as mask:
        if mask.mode[0] not in 'IF':
            return False
        ids = np.asarray(mask)
    return bool((ids != ids.astype(np.uint8)).any())


def colors_in(leaf: Dataset, info: dict) -> List[Tuple[int, int, int]]:
    """RGB colors of a mask that holds colors, the most frequent first."""
    with open_image(leaf, info['seg_map_path']) as mask:
        pixels = np.asarray(mask.convert('RGB')).reshape(-1, 3)
    codes, counts = np.unique(
        pixels.astype(int) @ (65536, 256, 1), return_counts=True
    )
    return [
        (code >> 16, code >> 8 & 255, code & 255)
        for code in codes[counts.argsort()[::-1]].tolist()
    ]


def scan(
    kind: str,
    leaf: Dataset,
    info: dict,
    read: Callable[[Dataset, dict], dict] = read,
) -> dict:
    """Read an image, and its mask if the pipeline makes one.

    Args:
        kind (str): 'labeled', 'unlabeled' or 'validation', for messages.
        leaf (Dataset): The data set of the image.
        info (dict): Its entry in there.
        read (Callable): :func:`read` or :func:`load`.

    Returns:
        dict: ``size`` and ``depth`` of the image, ``pixels`` of each id in
        the mask and the id that is ``ignored`` in there, as far as they are
        known; else a message in ``unread``, if a file cannot be read,
        ``pair``, if the mask may not be that of the image as it is loaded,
        ``shape``, if it has not the size of the image, or ``ids``, if some
        are no class.
    """
    seen, path = dict(pixels={}), info['img_path']
    if isinstance(leaf, UnlabeledFolder):  # it has been decoded
        return dict(
            seen, size=(info['height'], info['width']), depth=info['depth']
        )
    try:
        way = turned(leaf, info)
        loaded = read(leaf, info)
        seen['size'], seen['depth'] = loaded['size'], loaded['depth']
        mask = loaded.get('gt_seg_map')
        cut = mask is not None and is_cut(leaf, info)
    except Exception as error:
        if reads_masks(leaf.pipeline) and _is_readable(leaf, info):
            path = info.get('seg_map_path', f'the mask of {path}')
        seen['unread'] = (
            f'{path} cannot be read ({reason(error)}): fix the file, or the '
            f'list, data_prefix or suffixes of the {kind} data set'
        )
        return seen
    if mask is None:
        if kind != 'unlabeled':
            seen['unread'] = (
                f'The pipeline of {source(leaf)} makes no gt_seg_map of '
                f'{path}: add LoadAnnotations, or a transform of your own '
                'that makes it'
            )
        return seen
    height, width = seen['size']
    path = info.get('seg_map_path', f'the mask of {info["img_path"]}')
    # made after the image was resized, it fits what was made of the image
    fits = mask.shape in (seen['size'], loaded['img'].shape[:2])
    if osp.realpath(path) == image_file(info):
        seen['pair'] = (
            f'{path} is image and mask in one: fix the list, data_prefix or '
            f'suffixes of the {kind} data set'
        )
    elif way > 1 and (
        way < 5 or height == width or mask.shape != seen['size']
    ):
        seen['pair'] = (
            f'{info["img_path"]} is turned when it is loaded, by its EXIF '
            f'orientation {way}, but {path} is not, and may not fit: save '
            'the image upright as the mask is, without the orientation'
        )
    elif not fits and 1 in seen['size']:
        seen['shape'] = (
            f'{info["img_path"]} is {height} x {width}, and masks that are '
            'one pixel high or wide cannot be loaded: take it out of the '
            f'{kind} list'
        )
    elif not fits:
        sizes = [' x '.join(map(str, s)) for s in (mask.shape, seen['size'])]
        seen['shape'] = (
            f'{path} is {sizes[0]}, but its image is {sizes[1]}: '
            + _of_another_size(leaf, info, mask)
        )
    elif cut:
        seen['ids'] = (
            f'{path} holds ids that are no whole numbers from 0 to 255, but '
            'masks are read with 8 bits: fix the mask and save it with 8'
        )
    else:
        ids, counts = np.unique(mask, return_counts=True)
        seen['pixels'] = dict(zip(ids.tolist(), counts.tolist()))
        if leaf.ignore_index in seen['pixels']:
            seen['ignored'] = leaf.ignore_index
        if 'classes' in leaf.metainfo:
            seen['ids'] = next(
                id_problems(
                    leaf,
                    info,
                    (
                        i
                        for i in seen['pixels']
                        # later transforms may give it a class
                        if read is not load or survives(leaf, int(i))
                    ),
                ),
                None,
            )
    return seen


def _is_readable(leaf: Dataset, info: dict) -> bool:
    try:
        decode(leaf, info)
    except Exception:  # decoders raise whatever they like
        return False
    return True


def _of_another_size(leaf: Dataset, info: dict, mask: np.ndarray) -> str:
    """What a mask must be, and what to do about one in colors."""
    if mask.ndim < 3 or mask.shape[2] < 3 or 'seg_map_path' not in info:
        return 'a mask has one id for each pixel of its image'
    colors = colors_in(leaf, info)
    named = ', '.join(map(str, colors[:8]))
    if len(colors) > 64:
        return (
            f'it holds {len(colors)} colors, and a mask has one id for '
            'each pixel of its image: give the masks, not photos, and '
            'save them without loss, as PNG'
        )
    return (
        f'it holds the {len(colors)} RGB colors {named}'
        f'{"" if len(colors) <= 8 else ", ..."}, and a mask has one id '
        "for each pixel: put dict(type='ColorsToIds', colors=[...]), with "
        'the color of each class in their order, behind LoadAnnotations'
    )


def scan_all(
    kind: str, dataset: Dataset, remember: bool = False
) -> List[dict]:
    """:func:`scan` of every entry of a data set.

    Args:
        kind (str): See :func:`scan`.
        dataset (Dataset): Of any depth.
        remember (bool): Leave out entries whose files an earlier run found
            fit, see :class:`Memory`.
    """
    entries = [*infos(dataset)]
    # loading() before the threads: it seeds
    about = {
        leaf: leaf.pipeline.transforms[: loading(leaf)]
        for leaf in dict.fromkeys(leaf for leaf, _ in entries)
    }
    if remember:
        memory = Memory(
            'scan',
            [
                (
                    steps,
                    type(leaf).__qualname__,
                    leaf.metainfo.get('classes'),
                    leaf.label_map,
                    leaf.ignore_index,
                    leaf.reduce_zero_label,
                )
                for leaf, steps in about.items()
            ],
        )
        scanned = memory.look(
            [
                [info['img_path'], info.get('seg_map_path', info['img_path'])]
                for _, info in entries
            ],
            lambda i: scan(kind, *entries[i]),
            worth=lambda seen: not any(map(seen.get, FAULTS)),
        )
        memory.keep()
    else:
        scanned = in_threads(lambda entry: scan(kind, *entry), entries)
    return [
        scan(kind, *entry, read=load)
        if seen.get('ids') or seen.get('shape')
        else seen
        for entry, seen in zip(entries, scanned)
    ]
