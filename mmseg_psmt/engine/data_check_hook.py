"""Refuses data that would spoil a training, before its first iteration."""
import os.path as osp
from typing import Iterator, Set

import numpy as np
import torch.nn as nn
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import HOOKS

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
                       dataset) -> None:
        classes = dataset.metainfo.get('classes')
        for name, head in segmentor.named_modules():
            if (classes is not None and name.split('.')[0].endswith('_head')
                    and getattr(head, 'num_classes', None)
                    not in (None, len(classes))):
                raise ValueError(
                    f'{name}.num_classes is {head.num_classes}, but the '
                    f'{kind} data set has {len(classes)} classes: '
                    f'{tuple(classes)}. Change one of them')

    def _check_overlap(self, labeled, validation) -> None:
        shared = sorted(_images(labeled) & _images(validation))
        if shared:
            raise ValueError(
                f'{len(shared)} labelled images stand in the validation list '
                f'too, {shared[0]} first: take them out of one of '
                f'{labeled.ann_file} and {validation.ann_file}')

    def _check_masks(self, labeled) -> None:
        load = next((t for t in labeled.pipeline.transforms
                     if isinstance(t, LoadAnnotations)), None)
        if load is None:
            raise ValueError('The labelled pipeline has no LoadAnnotations')
        num_classes = len(labeled.metainfo['classes'])
        for info in _infos(labeled):
            ids = np.unique(load(info)['gt_seg_map'])
            wrong = ids[(ids >= num_classes) & (ids != labeled.ignore_index)]
            if len(wrong):
                raise ValueError(
                    f'{info["seg_map_path"]} holds the ids {wrong.tolist()}, '
                    f'but there are {num_classes} classes (0 to '
                    f'{num_classes - 1}) and ignore_index is '
                    f'{labeled.ignore_index}: mend the mask, or the classes '
                    'or reduce_zero_label of the data set')


def _infos(dataset) -> Iterator[dict]:
    return (dataset.get_data_info(i) for i in range(len(dataset)))


def _images(dataset) -> Set[str]:
    return {osp.realpath(info['img_path']) for info in _infos(dataset)}
