"""Refuses data that would spoil a training, before its first iteration."""
import os.path as osp
from typing import Iterator, Set

import numpy as np
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
        dataset = runner.train_dataloader.dataset
        self._check_classes(runner, dataset.labeled)
        if runner.val_dataloader is not None:
            self._check_overlap(dataset.labeled,
                                runner.val_dataloader.dataset)
        self._check_masks(dataset.labeled)

    def _check_classes(self, runner: Runner, labeled) -> None:
        classes = labeled.metainfo.get('classes')
        num_classes = unwrap(runner).segmentor.num_classes
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f'decode_head.num_classes is {num_classes}, but the labelled '
                f'data set has {len(classes)} classes: {tuple(classes)}. '
                'Change one of them (and auxiliary heads alike)')

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
