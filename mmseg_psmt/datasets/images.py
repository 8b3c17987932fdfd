"""What the data sets and their checks know of images."""
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from typing import Any, Callable, Iterable, Iterator, Tuple

from mmengine.fileio import get
from mmseg.datasets import BaseSegDataset
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset


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
    """Every entry of a data set, with the leaf that it stands in."""
    for leaf in leaves(dataset):
        for i in range(len(leaf)):
            yield leaf, leaf.get_data_info(i)


def decode(leaf: BaseSegDataset, info: dict) -> Tuple[int, int]:
    """Load an image in full, as the pipeline of its data set will.

    PIL is asked first: OpenCV 4 fills the rest of a truncated JPEG with grey
    and says nothing. Formats that PIL does not know are left to the loader.

    Args:
        leaf (BaseSegDataset): Its pipeline begins with the loader.
        info (dict): With ``img_path``.

    Returns:
        tuple[int, int]: Height and width in pixels, as loaded.

    Raises:
        Exception: Whatever PIL or the loader raise for a broken image.
    """
    content = get(info['img_path'], backend_args=leaf.backend_args)
    try:
        with Image.open(BytesIO(content)) as image:
            image.draft('L', (1, 1))  # a JPEG in an eighth: half the time
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        pass
    height, width = leaf.pipeline.transforms[0](dict(info))['img'].shape[:2]
    return height, width


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def in_threads(call: Callable[[Any], Any], items: Iterable) -> list:
    """Results of ``call`` for each item, in threads that stay.

    A thread that ends holds a lock of OpenCV for a moment more, and a loader
    worker that is forked right then would wait for it forever.
    """
    return [*_pool(os.getpid()).map(call, items)]


def reason(error: Exception) -> str:
    """Kind and message of an error in one line."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())
