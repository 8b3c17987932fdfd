"""Refuses data that would spoil a training, before its first iteration."""
import os.path as osp
from typing import Iterator, Tuple

import numpy as np
import torch.nn as nn
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ..datasets.semi_dataset import leaves
from .teacher_ema_hook import unwrap


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Check classes, leaks into the validation and ids of labelled masks.

    Reads every labelled mask once, on the first rank.
    """
    priority = 'VERY_HIGH'

    @master_only
    def before_train(self, runner: Runner) -> None:
        labeled = runner.train_dataloader.dataset.labeled
        segmentor = unwrap(runner).segmentor
        self._check_classes(segmentor, 'labelled', labeled)
        if runner.val_dataloader is not None:
            validation = runner.val_dataloader.dataset
            self._check_classes(segmentor, 'validation', validation)
            self._check_overlap(labeled, validation)
        self._check_masks(labeled)

    def _check_classes(self, segmentor: nn.Module, kind: str,
                       dataset: Dataset) -> None:
        classes = dataset.metainfo.get('classes')
        for name, head in segmentor.named_modules():
            if (classes is not None and name.split('.')[0].endswith('_head')
                    and getattr(head, 'num_classes', None)
                    not in (None, len(classes))):
                raise ValueError(
                    f'{name}.num_classes is {head.num_classes}, but the '
                    f'{kind} data set has {len(classes)} classes: '
                    f'{tuple(classes)}. Change one of them')

    def _check_overlap(self, labeled: Dataset, validation: Dataset) -> None:
        held_out = {_image(info) for _, info in _infos(validation)}
        for leaf, info in _infos(labeled):
            if _image(info) in held_out:
                raise ValueError(
                    f'{info["img_path"]} stands in the labelled list '
                    f'{leaf.ann_file} and in the validation, perhaps not '
                    'alone: take the shared images out of one of them')

    def _check_masks(self, labeled: Dataset) -> None:
        num_classes = len(labeled.metainfo['classes'])
        for leaf, info in _infos(labeled):
            load = next((t for t in leaf.pipeline.transforms
                         if isinstance(t, LoadAnnotations)), None)
            if load is None:
                raise ValueError(
                    'The labelled pipeline has no LoadAnnotations')
            ids = np.unique(load(info)['gt_seg_map'])
            wrong = ids[(ids >= num_classes) & (ids != leaf.ignore_index)]
            if len(wrong):
                raise ValueError(
                    f'{info["seg_map_path"]} holds the ids {wrong.tolist()}, '
                    f'but there are {num_classes} classes (0 to '
                    f'{num_classes - 1}) and ignore_index is '
                    f'{leaf.ignore_index}: mend the mask, or the classes '
                    'or reduce_zero_label of the data set')


def _infos(dataset: Dataset) -> Iterator[Tuple[Dataset, dict]]:
    for leaf in leaves(dataset):
        for i in range(len(leaf)):
            yield leaf, leaf.get_data_info(i)


def _image(info: dict) -> str:
    return osp.realpath(info['img_path'])
