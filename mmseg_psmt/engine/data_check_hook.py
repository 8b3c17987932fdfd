"""Refuses data that would spoil a training, before its first iteration."""
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..datasets.checks import (
    FAULTS,
    class_problems,
    leaks,
    mask_loader,
    scan_all,
)
from ..datasets.images import leaves
from ..models.heads import class_heads
from .teacher_ema_hook import unwrap


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Check classes, leaks into the validation, and images with their masks.

    Reads every labelled and validation image and its mask once, on the first
    rank.
    """
    priority = 'VERY_HIGH'

    @master_only
    def before_train(self, runner: Runner) -> None:
        labeled = runner.train_dataloader.dataset.labeled
        parts = dict(labelled=labeled)
        if runner.val_loop is not None:
            parts['validation'] = runner.val_dataloader.dataset
        heads = class_heads(unwrap(runner).segmentor)
        problems = [
            problem for kind, dataset in parts.items()
            for problem in class_problems(heads, kind, dataset)
        ]
        if 'validation' in parts:
            problems += leaks('labelled', labeled, parts['validation'])
        if not problems:
            for leaf in leaves(labeled):
                mask_loader(leaf)
            problems = [
                seen[fault] for kind, dataset in parts.items()
                for seen in scan_all(kind, dataset)
                for fault in FAULTS if seen.get(fault)
            ]
        if problems:
            more = len(problems) - 1
            raise ValueError(problems[0] + (
                f'. {more} more such problems, of each kind of which '
                'tools/check_data.py names the first three'
                if more else ''))
