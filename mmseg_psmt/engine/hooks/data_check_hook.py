"""Refuses data that would spoil a training, before its first iteration."""

from typing import Dict, Iterator, List

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ...datasets.checks import (
    FAULTS,
    agreement_problems,
    batch_problems,
    class_problems,
    ignore_problems,
    leaks,
    lone_class_problems,
    metric_problems,
    pipeline_problems,
    scan_all,
)
from ...models.encoders import patch_size
from ...models.heads import class_heads
from ..model import unwrap


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Check classes, leaks into the validation, masks and pipelines.

    Reads every labeled and validation image and its mask, unless an earlier
    run has and the file is the same, see :class:`Memory`, and sends probes
    through the transforms, on the first rank.
    """

    priority = 'VERY_HIGH'

    @master_only
    def before_train(self, runner: Runner) -> None:
        pairs = runner.train_dataloader.dataset
        parts = dict(labeled=pairs.labeled)
        if runner.val_loop is not None:
            parts['validation'] = runner.val_dataloader.dataset
        scanned: Dict[str, List[dict]] = {}
        # each needs data that are fit for those before
        for find in (of_lists, of_files, of_pipelines):
            problems = [*find(runner, parts, scanned)]
            if problems:
                more = len(problems) - 1
                raise ValueError(
                    problems[0]
                    + (
                        f'. {more} more such problems, of each kind of which '
                        'tools/check_data.py names the first three'
                        if more
                        else ''
                    )
                )


def of_lists(
    runner: Runner, parts: Dict[str, Dataset], scanned: dict
) -> Iterator[str]:
    """Problems found without reading the files."""
    heads = class_heads(unwrap(runner).segmentor)
    for kind, dataset in parts.items():
        yield from class_problems(heads, kind, dataset)
    yield from agreement_problems(
        dict(parts, unlabeled=runner.train_dataloader.dataset.unlabeled)
    )
    if 'validation' in parts:
        yield from leaks('labeled', parts['labeled'], parts['validation'])


def of_files(
    runner: Runner, parts: Dict[str, Dataset], scanned: dict
) -> Iterator[str]:
    """Problems of images, and of the ids in their masks; fills ``scanned``."""
    model = unwrap(runner)
    for kind, part in parts.items():
        scanned[kind] = scan_all(kind, part, remember=True)
    yield from (
        seen[fault]
        for part in scanned.values()
        for seen in part
        for fault in FAULTS
        if seen.get(fault)
    )
    yield from ignore_problems(
        class_heads(model.segmentor),
        getattr(model.data_preprocessor, 'seg_pad_val', None),
        parts['labeled'],
        scanned['labeled'],
    )
    for kind, part in parts.items():
        yield from lone_class_problems(kind, part, scanned[kind])
    if 'validation' in parts:
        evaluator = getattr(runner.val_loop, 'evaluator', None)
        metrics = getattr(evaluator, 'metrics', [])
        yield from metric_problems(
            (
                metric.ignore_index
                for metric in metrics
                if hasattr(metric, 'ignore_index')
            ),
            scanned['validation'],
        )


def of_pipelines(
    runner: Runner, parts: Dict[str, Dataset], scanned: dict
) -> Iterator[str]:
    """Problems of the pipelines."""
    model, pairs = unwrap(runner), runner.train_dataloader.dataset
    validation = parts.get('validation')
    problems = [*pipeline_problems(pairs, validation)]
    yield from problems or batch_problems(
        pairs,
        model.data_preprocessor,
        model.one_pass,
        patch_size(model.segmentor.backbone),
        scanned,
        validation,
    )
