"""Refuses data that would spoil a training, before its first iteration."""
import os.path as osp
from typing import Iterable, Iterator

import numpy as np
import torch.nn as nn
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ..datasets.semi_dataset import infos, source
from ..datasets.transforms.multi_view import kinds
from ..datasets.unlabeled_folder import UnlabeledFolder, decode, reason
from .teacher_ema_hook import unwrap


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Check classes, leaks into the validation and ids of labelled masks.

    Reads every labelled mask once, on the first rank.
    """
    priority = 'VERY_HIGH'

    @master_only
    def before_train(self, runner: Runner) -> None:
        for problem in self._problems(runner):
            raise ValueError(problem)

    def _problems(self, runner: Runner) -> Iterator[str]:
        labeled = runner.train_dataloader.dataset.labeled
        segmentor = unwrap(runner).segmentor
        yield from class_problems(segmentor, 'labelled', labeled)
        if runner.val_loop is not None:
            validation = runner.val_dataloader.dataset
            yield from class_problems(segmentor, 'validation', validation)
            yield from leaks('labelled', labeled, validation)
        for leaf, info in infos(labeled):
            ids = np.unique(mask_loader(leaf)(info)['gt_seg_map'])
            yield from id_problems(leaf, info, ids)


def class_problems(segmentor: nn.Module, kind: str,
                   dataset: Dataset) -> Iterator[str]:
    """Heads that have not as many classes as a data set."""
    classes = dataset.metainfo.get('classes')
    for name, head in segmentor.named_modules():
        if (classes is not None and name.split('.')[0].endswith('_head')
                and getattr(head, 'num_classes', None)
                not in (None, len(classes))):
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


def scan(kind: str, leaf: Dataset, info: dict) -> dict:
    """Read an image, and its mask if the pipeline does.

    Args:
        kind (str): 'labelled', 'unlabelled' or 'validation', for messages.
        leaf (Dataset): The data set of the image.
        info (dict): Its entry in there.

    Returns:
        dict: ``size`` of the image and ``pixels`` of each id in the mask, as
        far as they are known; else a message in ``unread``, if a file cannot
        be read, ``shape``, if the mask has not the size of the image, or
        ``ids``, if some are no class.
    """
    seen, path = dict(pixels={}), info['img_path']
    try:
        seen['size'] = (
            (info['height'], info['width'])  # it has been decoded
            if isinstance(leaf, UnlabeledFolder) else decode(leaf, info))
        if 'LoadAnnotations' not in kinds(leaf.pipeline):
            return seen
        path = info.get('seg_map_path', f'the mask of {path}')
        mask = mask_loader(leaf)(info)['gt_seg_map']
    except Exception as error:
        seen['unread'] = (
            f'{path} cannot be read ({reason(error)}): mend the file, or the '
            f'list, data_prefix or suffixes of the {kind} data set')
        return seen
    if mask.shape != seen['size']:
        sizes = [' x '.join(map(str, s)) for s in (mask.shape, seen['size'])]
        seen['shape'] = (
            f'{path} is {sizes[0]}, but its image is {sizes[1]}: a mask has '
            'one id for each pixel of its image')
        return seen
    seen['pixels'] = dict(zip(*np.unique(mask, return_counts=True)))
    if 'classes' in leaf.metainfo:
        seen['ids'] = next(id_problems(leaf, info, seen['pixels']), None)
    return seen
