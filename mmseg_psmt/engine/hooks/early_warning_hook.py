"""Says early what spoils a semi-supervised training, and what to do."""

from math import ceil
from typing import Dict, Iterable, Iterator, List, Optional, Sequence

import numpy as np
import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ...evaluation import TeacherStudentIoUMetric
from ...models import PSMT
from ...models.heads import tapped_head
from ...options import require_whole
from ..model import unwrap
from .teacher_ema_hook import TeacherEMAHook

# What a checkpoint keeps: the highest confident share, the highest share of
# each class in the predictions, the highest IoU of each class.
CONFIDENT = 'early_warning_highest_confident'
PREDICTED = 'early_warning_highest_predicted'
KNOWN = 'early_warning_highest_iou'
# Photos are another draw than the labeled images, which are often chosen to
# show rare classes: factors of 2 or 3 are common, one of 10 is a class that
# is going.
FAR = 10
# At the default threshold a small network that still learns is sure of a few
# percent of a photo's pixels, a random one of none.
RISEN = 0.02
# Of the labeled images. Supervised trainings take tens to hundreds; the
# shortest of the paper has 80.
PASSES = 10


@HOOKS.register_module()
class EarlyWarningHook(Hook):
    """Warn in the log, with the number and a remedy.

    Before the training: of fewer labeled images than a batch has, and of a
    schedule of fewer than 10 passes over them; teachers that nothing trains,
    and a missing :class:`TeacherEMAHook`, are refused.

    Every ``interval`` iterations after the warm-up: of a confident share of
    the pixels that never rose to 2 %, or fell to a tenth of what it was;
    of pseudo labels of which 999 in 1000 are one class that is not so frequent
    in the labels; of classes that have not a tenth of their share in the
    labels; of teachers with equal weights. In a validation after the warm-up:
    of teachers 5 mIoU below the student, 2 in the second half of the training;
    with :class:`TeacherStudentIoUMetric` also of a class whose IoU was above
    15 and is less than half of its best.

    A warning comes again for as long as it holds, so that the end of a log
    tells the state. What was best so far is in the checkpoint; a resumed
    training begins a new interval.

    Args:
        interval (int, optional): Iterations over which pseudo labels are
            counted. Defaults to a tenth of those after the warm-up.

    Raises:
        ValueError: If ``interval`` is no positive whole number.
    """

    priority = 'LOW'  # after the EMA

    def __init__(self, interval: Optional[int] = None):
        if interval is not None:
            require_whole('interval', interval, 1)
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        model = unwrap(runner)
        trained = any(
            hook.trained
            for hook in runner.hooks
            if isinstance(hook, TeacherEMAHook)
        )
        for problem in (
            *without_clock(map(type, runner.hooks)),
            *untrained(model, trained),
        ):
            raise ValueError(problem)
        self.start = max(runner.iter, model.warmup_iters)
        self.span = self.interval or tenth(runner)
        self.labels = torch.zeros(model.out_channels, dtype=torch.long)
        for problem in too_short(
            len(runner.train_dataloader.dataset.labeled),
            runner.train_dataloader.batch_size * get_world_size(),
            runner.max_iters,
        ):
            _warn(runner, problem, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        model = unwrap(runner)
        self.labels += label_counts(
            data_batch['labeled']['data_samples'],
            len(self.labels),
            tapped_head(model.segmentor).ignore_index,
        )
        done = runner.iter + 1 - self.start
        if done > 0 and done % self.span == 0:
            for problem in (
                *self._label_problems(runner, model),
                *_teacher_problems(model),
            ):
                _warn(runner, problem, runner.iter + 1)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        model = unwrap(runner)
        for problem in (
            *_gap_problems(runner, model, metrics or {}),
            *_forgotten_classes(runner, model),
        ):
            if runner.iter > model.warmup_iters:
                _warn(runner, problem, runner.iter)

    def _label_problems(self, runner: Runner, model: PSMT) -> Iterator[str]:
        counts, model.label_counts = model.label_counts, 0
        labels = self.labels.clone()
        all_reduce(counts)
        all_reduce(labels)
        sure, unsure = counts.cpu().double()
        span = f'in the last {self.span} iterations'
        unsure_all = _confidence_problems(
            runner,
            model,
            span,
            (sure.sum() / (sure + unsure).sum().clamp(min=1)).item(),
        )
        names = _class_names(runner, len(sure))
        by_class = _share_problems(
            runner,
            model,
            span,
            names,
            *map(_shares, (sure, sure + unsure, labels)),
        )
        # where hardly a pixel is confident no class is, either
        problems, classes = [*unsure_all], [*by_class]
        yield from problems or classes


def tenth(runner: Runner) -> int:
    """Iterations in a tenth of the training after the warm-up; at least 1.

    No fixed number serves trainings of 600 and of 60,000 iterations.
    """
    after = runner.max_iters - unwrap(runner).warmup_iters
    return max(after // 10, 1)


def without_clock(hooks: Iterable[type]) -> Iterator[str]:
    """The problem, if any, that no hook sets the iteration of the model."""
    if not any(issubclass(hook, TeacherEMAHook) for hook in hooks):
        yield (
            "custom_hooks has no dict(type='TeacherEMAHook'), which tells "
            'the model the iteration and moves the teachers: add it, or '
            'take custom_hooks = _base_.psmt.hooks'
        )


def untrained(model: PSMT, trained: bool) -> Iterator[str]:
    """The problem, if any, that a random network makes the pseudo labels.

    Args:
        model (PSMT): Before its training.
        trained (bool): Whether it begins with a trained decode head.
    """
    if model.given['warmup_iters'] != 0 or trained:
        return
    parts = model, model.segmentor, tapped_head(model.segmentor)
    if not any(map(_is_pretrained, parts)):
        yield (
            'model.warmup_iters=0, and no checkpoint has a trained head: the '
            'teachers would be copies of a network with a random head and '
            'teach the student nothing. Leave model.warmup_iters out for '
            'the default warm-up or give its length, or set load_from to '
            'the checkpoint of a supervised training'
        )


def _is_pretrained(module: nn.Module) -> bool:
    cfg = getattr(module, 'init_cfg', None)
    return any(
        part.get('type') == 'Pretrained'
        for part in (cfg if isinstance(cfg, list) else [cfg or {}])
    )


def too_short(labeled: int, batch: int, max_iters: int) -> Iterator[str]:
    """Problems of a schedule, given the number of labeled images.

    Args:
        labeled (int): Images with masks.
        batch (int): Pairs in an iteration of all processes.
        max_iters (int): Iterations.
    """
    if labeled < batch:
        yield (
            f'{labeled} labeled images are fewer than a batch of {batch}: '
            'some repeat within it. Lower train_dataloader.batch_size, use '
            'fewer processes or label more images'
        )
    if max_iters * batch < PASSES * labeled:
        yield (
            f'{max_iters} iterations of {batch} are '
            f'{max_iters * batch / labeled:.1f} passes over the {labeled} '
            'labeled images, too few to learn from the masks alone. Set '
            'train_cfg.max_iters, and the end of param_scheduler, to at '
            f'least {ceil(PASSES * labeled / batch)}'
        )


def label_counts(
    samples: Sequence, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Labeled pixels of each class, one in 16 of them.

    Shares need no more, and the training waits for it.

    Args:
        samples (Sequence[SegDataSample]): With masks (1, H, W).
        num_classes (int): Greater ids are ignored.
        ignore_index (int): So is this one.

    Returns:
        Tensor: Shape (num_classes,).
    """
    ids = torch.cat(
        [sample.gt_sem_seg.data[..., ::4, ::4].flatten() for sample in samples]
    ).long()
    counted = (ids < num_classes) & (ids != ignore_index)
    return ids[counted].bincount(minlength=num_classes)


def _confidence_problems(
    runner: Runner, model: PSMT, span: str, share: float
) -> Iterator[str]:
    highest = max(share, runner.message_hub.get_info(CONFIDENT, 0.0))
    runner.message_hub.update_info(CONFIDENT, highest)
    if highest < RISEN:
        yield (
            f'{share:.2%} of the unlabeled pixels were confident {span} '
            f'and {highest:.2%} at best: the teachers know too little to '
            f'teach. {_longer_warmup(model)}. To lower '
            'model.consistency.threshold '
            f'({model.consistency.threshold}) lets their mistakes '
            'through, and helps only where the pictures of pseudo_labels '
            'are right already'
        )
    elif share <= highest / FAR:
        yield (
            f'{share:.2%} of the unlabeled pixels were confident {span}, '
            f'after {highest:.2%} at best: the teachers have lost what '
            'they knew. See in the log that the losses are finite, and '
            'begin again with a lower optim_wrapper.optimizer.lr or '
            f'model.unsup_weight ({model.unsup_weight}); if you raised '
            'model.consistency.threshold '
            f'({model.consistency.threshold}), lower it'
        )


def _share_problems(
    runner: Runner,
    model: PSMT,
    span: str,
    names: Sequence[str],
    sure: Tensor,
    found: Tensor,
    labels: Tensor,
) -> Iterator[str]:
    """Problems of a class's share in confident, all and labeled pixels."""
    before = found.new_tensor(runner.message_hub.get_info(PREDICTED, 0.0))
    highest = torch.maximum(before, found)
    runner.message_hub.update_info(PREDICTED, highest.tolist())
    if not sure.any():
        return
    most = int(sure.argmax())
    if sure[most] >= 0.999 and labels[most] < 0.99:
        yield (
            f'{sure[most]:.2%} of the confident pseudo labels {span} are '
            f'{names[most]}, {labels[most]:.2%} of the labels: unless the '
            'photos show hardly anything else, the teachers have '
            'collapsed. Begin again with a longer '
            f'model.warmup_iters ({model.warmup_iters}) or '
            f'model.ramp_iters ({model.ramp_iters}), or a lower '
            f'model.unsup_weight ({model.unsup_weight})'
        )
        return
    few = (labels > 0) & (sure < labels / FAR)
    seen, was_seen = found >= labels / FAR, highest >= labels / FAR
    for which, cause in (
        (
            few & seen,
            'the teachers predict it, but are seldom confident. Lower '
            f'model.consistency.threshold ({model.consistency.threshold})',
        ),
        (
            few & ~seen & was_seen,
            f'the teachers stopped predicting it. {_softer_start(model)}',
        ),
        (
            few & ~was_seen,
            f'the teachers have not learned it. {_longer_warmup(model)}; or '
            'label more images that show it',
        ),
    ):
        if which.any():
            each = ', '.join(
                f'{names[i]} {sure[i]:.2%} ({labels[i]:.2%})'
                for i in which.nonzero().flatten().tolist()
            )
            yield (
                f'the pseudo labels {span} hold less than a tenth of what '
                f'the labels, in brackets, hold of {each}. Unless these '
                f'photos hardly show it, {cause}'
            )
    absent = (labels == 0) & (found == 0)
    ignored = tapped_head(model.segmentor).ignore_index
    each = [
        name
        for i, (name, no) in enumerate(zip(names, absent))
        if no and i != ignored
    ]
    if each:
        yield (
            f'neither the labels, of which one pixel in 16 counts, nor the '
            f'pseudo labels {span} hold {", ".join(each)}, which cannot be '
            'learned so. Label images that show it'
        )


def _forgotten_classes(runner: Runner, model: PSMT) -> Iterator[str]:
    """The problem, if any, of classes whose IoU was good and is not now."""
    for metric in runner.val_evaluator.metrics:
        if isinstance(metric, TeacherStudentIoUMetric) and metric.class_iou:
            break
    else:
        return
    now = metric.class_iou
    known = runner.message_hub.get_info(KNOWN, [0.0] * len(now))
    highest = np.fmax(known, now).tolist()  # NaN: not in these images
    runner.message_hub.update_info(KNOWN, highest)
    lost = [
        f'{name} {iou:.1f} ({best:.1f})'
        for name, iou, best in zip(
            _class_names(runner, len(now)), now, highest
        )
        if best > 15 and iou < best / 2
    ]
    if lost:
        yield (
            f'the {model.predict_with[0]} knew classes that are lost; '
            f'IoU now, and at best in brackets: {", ".join(lost)}. '
            f'{_softer_start(model)}'
        )


def _gap_problems(
    runner: Runner, model: PSMT, metrics: Dict[str, float]
) -> Iterator[str]:
    first = model.predict_with[0]
    mious = {
        first: metrics.get('mIoU'),
        **{
            net: metrics[f'{net}/mIoU']
            for net in model.nets
            if f'{net}/mIoU' in metrics
        },
    }
    student = mious.get('student')
    late = runner.iter * 2 >= runner.max_iters
    for net in ('teachers', 'teacher1', 'teacher2'):
        teachers = mious.get(net)
        if None not in (student, teachers) and (
            student - teachers > (2 if late else 5)
        ):
            yield (
                f'the mIoU of the {net} is {teachers:.2f}, '
                f"{student - teachers:.2f} below the student's "
                f'{student:.2f}: their pseudo labels hold it back. If they '
                'follow too slowly, lower '
                'model.teachers.decay '
                f'({model.teachers.decay:.4g}); if they were untrained or '
                'unlike each other at the start, lengthen '
                f'model.warmup_iters ({model.warmup_iters}) and take '
                "model.teachers.init='copy'"
            )
            return


def _teacher_problems(model: PSMT) -> Iterator[str]:
    if len(model.teachers) == 2 and all(
        map(torch.equal, *(teacher.parameters() for teacher in model.teachers))
    ):
        yield (
            'both teachers have the same weights and say the same, as one '
            'would: the student that they follow does not change. Raise '
            'optim_wrapper.optimizer.lr, and see in the log that '
            'param_scheduler does not end too early'
        )


def _longer_warmup(model: PSMT) -> str:
    return (
        f'Lengthen model.warmup_iters ({model.warmup_iters}), or set '
        'load_from to the checkpoint of a supervised training'
    )


def _softer_start(model: PSMT) -> str:
    return (
        'Begin again with a lower model.unsup_weight '
        f'({model.unsup_weight}), or a longer model.ramp_iters '
        f'({model.ramp_iters}) or model.warmup_iters '
        f'({model.warmup_iters})'
    )


def _shares(counts: Tensor) -> Tensor:
    return counts.double() / counts.sum().clamp(min=1)


def _class_names(runner: Runner, num: int) -> List[str]:
    classes = runner.train_dataloader.dataset.metainfo.get('classes')
    return [
        f"'{name}' (class {i})" for i, name in enumerate(classes or range(num))
    ]


def _warn(runner: Runner, problem: str, iteration: int) -> None:
    runner.logger.warning(f'Early warning at iteration {iteration}: {problem}')
