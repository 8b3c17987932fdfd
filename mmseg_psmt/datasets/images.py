"""What the data sets and their checks know of images."""

import copy
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO
from typing import Any, Callable, Iterable, Iterator, Tuple

import numpy as np
from mmengine.dataset import Compose
from mmengine.fileio import get
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from torch.utils.data import Dataset

from ..options import missing_module
from ..randomness import seeded
from .transforms.multi_view import nested
from .transforms.photo_mask import PhotoMask

# An image may carry a long text, which Pillow takes for an attack.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**28


def leaves(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets within wrappers such as ConcatDataset."""
    inner = getattr(dataset, 'datasets', None)
    if inner is None and hasattr(dataset, 'dataset'):
        inner = [dataset.dataset]
    if inner is None:
        yield dataset
    else:
        for part in inner:
            yield from leaves(part)


def source(leaf: Dataset) -> str:
    """The list or the folder that a data set was read from."""
    return leaf.ann_file or leaf.data_prefix['img_path']


def infos(dataset: Dataset) -> Iterator[Tuple[Dataset, dict]]:
    """Every entry of a data set, with the leaf that holds it."""
    for leaf in leaves(dataset):
        for i in range(len(leaf)):
            yield leaf, leaf.get_data_info(i)


def reads_masks(pipeline: Compose) -> bool:
    """Whether a pipeline reads the mask file of an entry, as mmseg does."""
    return any(
        isinstance(step, LoadAnnotations)
        and type(step)._load_seg_map is LoadAnnotations._load_seg_map
        for step in nested(pipeline)
    )


@lru_cache(maxsize=64)
def loading(leaf: BaseSegDataset) -> int:
    """How many transforms of a pipeline load an image and its mask.

    Found by what they do to the first images: what makes or changes a mask,
    while the image stays as it is, loads.
    """
    numbers = []
    for i in range(min(50, len(leaf))):
        try:
            loaded, number = _load(leaf, leaf.get_data_info(i))
        except Exception:  # a broken file; the next may tell
            continue
        numbers.append(number)
        if 'gt_seg_map' not in loaded or len(numbers) == 3:
            return max(numbers)
    # too few can be read to tell
    return max(
        [
            1,
            *numbers,
            *(
                number
                for number, step in enumerate(leaf.pipeline.transforms, 1)
                if isinstance(step, LoadAnnotations)
            ),
        ]
    )


def read(leaf: BaseSegDataset, info: dict) -> dict:
    """Image and mask of an entry, by the transforms that load them.

    Args:
        leaf (BaseSegDataset): Its pipeline loads.
        info (dict): The entry.

    Returns:
        dict: Results with ``gt_seg_map``, if the pipeline makes one, and of
        the image as it was loaded ``size``, its height and width, and
        ``depth``, see :func:`depth`.

    Raises:
        Exception: Whatever PIL or the transforms raise for a broken file.
    """
    results, size, kind = copy.deepcopy(info), None, None
    with verified(leaf, info):
        for step in leaf.pipeline.transforms[: loading(leaf)]:
            results = step(results)
            if size is None and 'img' in results:
                size, kind = results['img'].shape[:2], depth(results['img'])
    return {**results, 'size': size, 'depth': kind}


def load(leaf: BaseSegDataset, info: dict) -> dict:
    """:func:`read`, but by what the transforms do to this very entry.

    Not in threads, for it seeds the random transforms in between.
    """
    return _load(leaf, info)[0]


def _load(leaf: BaseSegDataset, info: dict) -> Tuple[dict, int]:
    results = copy.deepcopy(info)
    loaded, size, kind, steps = {}, None, None, 1
    with seeded((0,)):
        for number, step in enumerate(leaf.pipeline.transforms, 1):
            has_mask = 'gt_seg_map' in loaded
            if isinstance(step, PhotoMask):
                break
            try:
                # a copy, for some transforms work in place
                results = step(copy.deepcopy(results))
            except Exception:
                if not has_mask:
                    raise
                if loaded['gt_seg_map'].ndim > 2:  # it had to be converted
                    steps = number
                break
            if not isinstance(results, dict) or 'img' not in results:
                break
            if has_mask and not np.array_equal(results['img'], loaded['img']):
                break
            if size is None:
                size, kind = results['img'].shape[:2], depth(results['img'])
                steps = number
            elif not np.array_equal(
                results.get('gt_seg_map'), loaded.get('gt_seg_map')
            ):
                steps = number
            loaded = results
    return {**loaded, 'size': size, 'depth': kind}, steps


class Budget:
    """Bytes that may be in use at a time; what is larger goes alone."""

    def __init__(self, total: int):
        self.free = self.total = total
        self.changed = threading.Condition()

    @contextmanager
    def spend(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and take them meanwhile."""
        size = min(size, self.total)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= size)
            self.free -= size
        try:
            yield
        finally:
            with self.changed:
                self.free += size
                self.changed.notify_all()


DECODING = Budget(2**29)


@contextmanager
def verified(leaf: BaseSegDataset, info: dict) -> Iterator[None]:
    """Context to load an image in, once PIL has decoded it.

    OpenCV 4 fills the rest of a truncated JPEG with gray, without a warning.
    Formats that PIL does not know are left to the loader. Images that are
    decoded in threads meanwhile have 512 MiB together.

    Args:
        leaf (BaseSegDataset): The data set of the image.
        info (dict): With ``img_path``.

    Raises:
        Exception: Whatever PIL raises for a broken image.
    """
    content = get(info['img_path'], backend_args=leaf.backend_args)
    size, image = 16 * len(content), None
    try:
        image = Image.open(BytesIO(content))
        # four bytes a pixel, the image of PIL, of the loader and a copy
        size = max(size, 12 * image.width * image.height)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        pass
    with DECODING.spend(size):
        if image is not None:
            with image:
                image.draft('L', (1, 1))  # a JPEG in an eighth: half the time
                image.load()
        yield


def depth(image: np.ndarray) -> str:
    """Channels and type of an image (H, W) or (H, W, C), to be read."""
    channels = image.shape[2] if image.ndim == 3 else 1
    return f'{channels} channel{"s" * (channels > 1)} in {image.dtype}'


def decode(leaf: BaseSegDataset, info: dict) -> np.ndarray:
    """Load an image in full, as the pipeline of its data set will.

    Args:
        leaf (BaseSegDataset): Its pipeline begins with the loader.
        info (dict): With ``img_path``.

    Returns:
        np.ndarray: The image, (H, W) or (H, W, C).

    Raises:
        Exception: Whatever PIL or the loader raise for a broken image.
    """
    with verified(leaf, info):
        return leaf.pipeline.transforms[0](dict(info))['img']


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def in_threads(call: Callable[[Any], Any], items: Iterable) -> list:
    """Results of ``call`` for each item, in threads that never end.

    A thread that ends holds a lock of OpenCV for a moment more, and a loader
    worker that is forked right then would wait for it forever.
    """
    return [*_pool(os.getpid()).map(call, items)]


def reason(error: Exception) -> str:
    """Kind and message of an error in one line."""
    if isinstance(error, ImportError) and missing_module(error):
        return missing_module(error)
    return ' '.join(f'{type(error).__name__}: {error}'.split()).rstrip(':')
