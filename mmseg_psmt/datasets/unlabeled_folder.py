"""Images without masks: folders, patterns, lists."""

import logging
import os.path as osp
from collections import Counter
from glob import escape, glob
from typing import Iterator, List, Optional, Sequence, Union

import torch
from mmengine.dataset import Compose
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..options import require
from .images import decode, depth, reads_masks, reason
from .memory import Memory
from .transforms.multi_view import nested

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
TRIES = 10


@DATASETS.register_module()
class UnlabeledFolder(BaseSegDataset):
    """Images of any size, without masks or annotation files.

    They are JPEG, PNG, BMP, TIFF or WebP by their suffix; files of others are
    counted in the log. Each is decoded once, when the data set is initialized,
    the ranks sharing the work, and broken ones are named; later runs decode
    what is new or was changed, see :class:`Memory`. A JPEG of 480 x 360
    takes about 2 ms of one CPU core. An image that can no longer be loaded
    later on is named in a warning, and the next one stands in for it. OpenCV 4
    does not notice a JPEG truncated by then; ``imdecode_backend='pillow'`` of
    ``LoadImageFromFile`` does.

    Args:
        images (str | Sequence[str]): A folder, which is searched with its
            subfolders, a glob pattern (which minds the case), an image, a
            ``.txt`` list with the path of an image in each line, or several
            of these. Hidden files are passed over; an image found twice
            counts once.
        pipeline (list[dict]): Begins with the transform that loads an image.
        data_root (str, optional): What ``images`` and the lines of a list
            are relative to. Defaults to the working directory.
        broken (str): 'skip' warns of broken images and goes on without them,
            but not when 10 follow each other in the middle of a training;
            'refuse' stops. Defaults to 'skip'.
        metainfo (dict, optional): See :class:`BaseSegDataset`.
        lazy_init (bool): See :class:`BaseSegDataset`.

    Raises:
        ValueError: If an image is broken and to be refused, if all are, or
            if the pipeline wants masks.
        FileNotFoundError: If one of ``images`` holds no image, or a list
            names a file that does not exist.
    """

    def __init__(
        self,
        images: Union[str, Sequence[str]],
        pipeline: List[dict],
        data_root: Optional[str] = None,
        broken: str = 'skip',
        metainfo: Optional[dict] = None,
        lazy_init: bool = False,
    ):
        self.images = [images] if isinstance(images, str) else images
        require(
            'images of UnlabeledFolder',
            images,
            'a path or several, not empty',
            lambda _: (
                isinstance(self.images, (list, tuple))
                and self.images
                and all(isinstance(path, str) and path for path in self.images)
            ),
        )
        require(
            'broken',
            broken,
            "'skip' or 'refuse'",
            lambda x: x in ('skip', 'refuse'),
        )
        self.broken = broken
        super().__init__(
            data_prefix=dict(img_path=', '.join(self.images)),
            pipeline=pipeline,
            data_root=data_root,
            metainfo=metainfo,
            lazy_init=True,
        )
        unmet = 'LoadAnnotations' if reads_masks(self.pipeline) else None
        if any(
            getattr(step, 'cat_max_ratio', 1) < 1
            for step in nested(self.pipeline)
        ):
            unmet = 'cat_max_ratio'
        if unmet:
            raise ValueError(
                f'{unmet} needs masks, UnlabeledFolder has '
                'none: take it out of the pipeline'
            )
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> List[dict]:
        """Find the images, sorted by path."""
        images, others = set(), set()
        for pattern in self.images:
            files = {*self._files(pattern)}
            found = {path for path in files if _suffix(path) in SUFFIXES}
            if not found:
                raise FileNotFoundError(
                    f'{self._join(pattern)} holds no image: images takes a '
                    'folder, a glob pattern, an image or a .txt list, and '
                    f'files that end in {", ".join(SUFFIXES)} in upper or '
                    'lower case'
                )
            images |= found
            others |= files - found
        self.others = Counter(_suffix(path) or 'none' for path in others)
        once = {
            osp.realpath(path): path for path in sorted(images, reverse=True)
        }
        return [
            dict(img_path=path, seg_fields=[])
            for path in sorted(once.values())
        ]

    def filter_data(self) -> List[dict]:
        """Decode every image once, and leave out the broken ones."""
        images = self.data_list
        others = ', '.join(f'{n} of {s}' for s, n in self.others.items())
        print_log(
            f'{len(images)} unlabeled images in {", ".join(self.images)}, '
            'decoding each that no earlier run has. Files of other '
            f'suffixes: {others or 0}',
            logger='current',
        )
        rank, ranks = get_rank(), get_world_size()
        share, memory = (
            images[rank::ranks],
            Memory('decode', self.pipeline.transforms[0], self.backend_args),
        )
        seen = memory.look(
            [[info['img_path']] for info in share],
            lambda i: self._look_at(share[i]),
            worth=lambda found: 'fault' not in found,
        )
        shares = all_gather_object((seen, memory.new))
        for other, (seen, _) in enumerate(shares):
            for info, found in zip(images[other::ranks], seen):
                info.update(found)
        if rank == 0:
            memory.keep(*(new for _, new in shares))
        good = [info for info in images if 'fault' not in info]
        # whether an image was named in a warning, known to all workers
        self.named = torch.zeros(len(good), dtype=torch.bool).share_memory_()
        if len(good) == len(images):
            return good
        report = (
            f'{len(images) - len(good)} of {len(images)} unlabeled images '
            f'are broken, {len(good)} remain:'
            + ''.join(
                f'\n  {info["img_path"]}: {info["fault"]}'
                for info in images
                if 'fault' in info
            )
        )
        if self.broken == 'refuse' or not good:
            raise ValueError(
                f'{report}\nReplace or remove these files'
                + (", or set broken='skip'" if good else '')
            )
        print_log(report, logger='current', level=logging.WARNING)
        return good

    def prepare_data(self, idx: int) -> dict:
        """Views of an image, or of the next one that can be loaded."""
        if self.broken == 'refuse':
            return super().prepare_data(idx)
        load, *rest = self.pipeline.transforms
        for i in range(idx, idx + min(TRIES, len(self))):
            info = self.get_data_info(i % len(self))
            path = info['img_path']
            try:
                results = load(info)
                break
            except Exception as error:  # decoders raise whatever they like
                fault = f'{path}: {reason(error)}'
            if not self.named[i % len(self)]:
                self.named[i % len(self)] = True
                print_log(
                    'An unlabeled image can no longer be loaded, the next '
                    f'one stands in for it: {fault}',
                    logger='current',
                    # the other ranks print nothing below an error
                    level=logging.ERROR if get_rank() else logging.WARNING,
                )
        else:
            raise ValueError(
                f'{i + 1 - idx} unlabeled images in a row can no longer be '
                f'loaded, the last is {fault}'
            )
        return Compose(rest)(results)

    def _join(self, path: str) -> str:
        return osp.join(self.data_root or '', path)

    def _files(self, pattern: str) -> Iterator[str]:
        paths = [self._join(pattern)]
        if not osp.exists(paths[0]):
            paths = glob(
                osp.join(escape(self.data_root or ''), pattern), recursive=True
            )
        for path in paths:
            if osp.isdir(path):
                inside = glob(osp.join(escape(path), '**/*'), recursive=True)
                yield from (file for file in inside if not osp.isdir(file))
            elif _suffix(pattern) == '.txt':
                yield from self._listed(path)
            else:
                yield path

    def _listed(self, path: str) -> Iterator[str]:
        try:
            lines = list_from_file(path, encoding='utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(
                f'The list {path} is not UTF-8 text ({error}): save it as such'
            ) from error
        for number, line in enumerate(lines, 1):
            image = self._join(line.strip())
            if line.strip() and not osp.isfile(image):
                raise FileNotFoundError(
                    f'{image} of line {number} in {path} does not exist: '
                    'the paths in a list have their suffix and are relative '
                    'to data_root, if that is set'
                )
            if line.strip():
                yield image

    def _look_at(self, info: dict) -> dict:
        try:
            image = decode(self, info)
        except Exception as error:  # decoders raise whatever they like
            return dict(fault=reason(error))
        height, width = image.shape[:2]
        return dict(height=height, width=width, depth=depth(image))


def _suffix(path: str) -> str:
    return osp.splitext(path)[1].lower()
