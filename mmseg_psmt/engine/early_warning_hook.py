"""Says early what spoils a semi-supervised training, and what to do."""
from typing import Dict, Iterator, Optional

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..models import PSMT
from .teacher_ema_hook import unwrap

HIGHEST = 'early_warning_highest_confident'


@HOOKS.register_module()
class EarlyWarningHook(Hook):
    """Warn in the log, with the number and a remedy.

    Before the training: of fewer labelled images than a batch has. Every
    ``interval`` iterations after the warm-up: of confident pixels that are a
    tenth at most of what they were, or none; of pseudo labels of which 999 in
    1000 are one class, or that lack one; of teachers with equal weights. In a
    validation after the warm-up: of teachers 5 mIoU below the student.

    A warning comes again for as long as it holds, so that the end of a log
    tells the state. The share that confidence falls from is in the
    checkpoint; a resumed training begins a new interval.

    Args:
        interval (int): Iterations over which pseudo labels are counted.
            Defaults to 500.
    """
    priority = 'LOW'  # after the EMA

    def __init__(self, interval: int = 500):
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        self.start = runner.iter
        labeled = len(runner.train_dataloader.dataset.labeled)
        batch = runner.train_dataloader.batch_size * get_world_size()
        if labeled < batch:
            _warn(
                runner, f'{labeled} labelled images are fewer than a batch of '
                f'{batch}: some repeat within it. Lower '
                'train_dataloader.batch_size, use fewer processes or label '
                'more images', runner.iter)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        model = unwrap(runner)
        done = runner.iter + 1 - max(self.start, model.warmup_iters)
        if done > 0 and done % self.interval == 0:
            for problem in (*self._label_problems(runner, model),
                            *_teacher_problems(model)):
                _warn(runner, problem, runner.iter + 1)

    def after_val_epoch(self,
                        runner: Runner,
                        metrics: Optional[Dict[str, float]] = None) -> None:
        model = unwrap(runner)
        if (runner.iter <= model.warmup_iters
                or not {'mIoU', 'student/mIoU'} <= metrics.keys()):
            return
        teachers, student = metrics['mIoU'], metrics['student/mIoU']
        if student - teachers > 5:
            _warn(
                runner, f'the mIoU of the {model.predict_with[0]} is '
                f'{teachers:.2f}, {student - teachers:.2f} below the '
                f"student's {student:.2f}: their pseudo labels hold it back. "
                f'If they follow too slowly, lower model.ema_decay '
                f'({model.ema_decay}); if they were untrained or unlike each '
                "other at the start, lengthen model.warmup_iters "
                f'({model.warmup_iters}) and take model.teachers_init='
                "'copy'", runner.iter)

    def _label_problems(self, runner: Runner, model: PSMT) -> Iterator[str]:
        counts, model.label_counts = model.label_counts, 0
        all_reduce(counts)
        *labels, unsure = counts.tolist()
        sure, most = sum(labels), max(labels)
        share = sure / max(sure + unsure, 1)
        highest = runner.message_hub.get_info(HIGHEST, 0.)
        runner.message_hub.update_info(HIGHEST, max(share, highest))
        span = f'in the last {self.interval} iterations'
        threshold = model.consistency.threshold
        if share <= highest / 10:
            yield (f'{share:.2%} of the unlabelled pixels were confident '
                   f'{span}, after {highest:.2%} at best: they teach next to '
                   'nothing. Lower model.consistency.threshold '
                   f'({threshold}); if the share fell, lengthen '
                   f'model.warmup_iters ({model.warmup_iters}), take '
                   "model.teachers_init='copy', and see in the log that the "
                   'losses are finite')
        classes = runner.train_dataloader.dataset.metainfo.get('classes')
        names = [f"'{name}' (class {i})"
                 for i, name in enumerate(classes or range(len(labels)))]
        if sure and most >= 0.999 * sure:
            yield (f'{most / sure:.2%} of the confident pseudo labels {span} '
                   f'are {names[labels.index(most)]}: unless the images show '
                   'hardly anything else, the teachers have collapsed. '
                   'Begin again with a longer model.warmup_iters '
                   f'({model.warmup_iters}) or model.ramp_iters '
                   f'({model.ramp_iters}), or a lower model.unsup_weight '
                   f'({model.unsup_weight})')
        elif sure and 0 in labels:
            lacking = [n for n, count in zip(names, labels) if not count]
            yield (f'no pixel was pseudo-labelled {", ".join(lacking)} {span}:'
                   ' the unlabelled images teach nothing of that. '
                   'tools/check_data.py counts the labelled pixels of each '
                   'class: label more of a rare one, or split anew with '
                   'tools/make_splits.py, which covers all; else lower '
                   f'model.consistency.threshold ({threshold}) or lengthen '
                   f'model.warmup_iters ({model.warmup_iters})')


def _teacher_problems(model: PSMT) -> Iterator[str]:
    if len(model.teachers) == 2 and all(
            map(torch.equal,
                *(teacher.parameters() for teacher in model.teachers))):
        yield ('both teachers have the same weights and say the same, as one '
               'would: model.ema_decay must be below 1 (it is '
               f'{model.ema_decay}) and the student must learn '
               '(optim_wrapper.optimizer.lr)')


def _warn(runner: Runner, problem: str, iteration: int) -> None:
    runner.logger.warning(f'Early warning at iteration {iteration}: {problem}')
