"""Says at the end of a training how good it is, and what to do next."""

import shlex
from pathlib import Path
from typing import Dict, Iterator, Optional, Union

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...cli import command
from ...options import require
from ..logs import last_validation, other_images, sheets, twin_of
from ..model import unwrap
from ..report import write_report
from .checkpoint_hook import checkpoints

# What to try, in this order, if PS-MT is not above its supervised twin.
REMEDIES = (
    # Pseudo labels are no better than what the teachers know at the start.
    'teachers that know more: load_from={checkpoint}, or '
    'model.warmup_iters={warmup} (it was {warmup_now})',
    # Wrong ones do less harm beside the masks.
    'pseudo labels that count less: model.unsup_weight={weight:g} (it was '
    '{weight_now:g})',
    # Few updates leave a student that still fights with plain images.
    'a student that sees easier features and images: model.tvat=None, then '
    'model.mix=[]',
)


@HOOKS.register_module()
class SummaryHook(Hook):
    """Log the end of a training in a few lines.

    mIoU of each net in the last validation, beside that of supervised
    training with the same network if there is one; the best checkpoint, the
    pictures of the pseudo labels, and the commands that test and export. What
    to try where supervised training is not worse. Then :func:`write_report`.

    Args:
        twin (str, optional): Work dir of the supervised training. Defaults to
            :func:`twin_of` this one.

    Raises:
        ValueError: If ``twin`` is no path.
    """

    priority = 'LOWEST'  # after the last checkpoint

    def __init__(self, twin: Optional[Union[str, Path]] = None):
        require(
            'twin',
            twin,
            'None or the path of a work dir',
            lambda x: x is None or isinstance(x, (str, Path)) and str(x),
        )
        self.twin = twin

    def before_train(self, runner: Runner) -> None:
        self.last = {}

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        self.last = {**(metrics or {}), 'step': runner.iter}

    def after_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        try:
            runner.logger.info(
                '\n'.join(['The training has ended.', *self._lines(runner)])
            )
        except Exception as error:  # the training itself is saved
            runner.logger.warning(
                f'No summary of the training: {type(error).__name__}: {error}'
            )
        try:
            path = write_report(Path(runner.work_dir), self.twin)
            runner.logger.info(f'report: {_short(path)}')
        except Exception as error:
            runner.logger.warning(
                f'No report.html: {type(error).__name__}: {error}'
            )

    def _lines(self, runner: Runner) -> Iterator[str]:
        work_dir = Path(runner.work_dir)
        # nothing was left to train after a resume
        last = self.last if 'mIoU' in self.last else last_validation(work_dir)
        if 'mIoU' in last:
            yield from self._scores(runner, last)
        else:
            yield (
                'mIoU: unknown, for there was no validation that measures '
                'it. Set val_dataloader, val_cfg and val_evaluator, with mIoU '
                'among its iou_metrics'
            )
        info = runner.message_hub.runtime_info
        for key, path in info.items():
            if key.startswith('best_ckpt'):
                score = info[key.replace('ckpt', 'score')]
                yield f'best checkpoint: {_short(path)}, {score:.2f}'
        pictures = sheets(work_dir)
        if pictures:
            yield f'pictures of the pseudo labels: {_short(pictures[-1])}'
        yield from self._commands(runner, _last_checkpoint(work_dir))

    def _scores(self, runner: Runner, last: dict) -> Iterator[str]:
        first, *others = unwrap(runner).predict_with
        mious = {
            first: last['mIoU'],
            **{
                net: last[f'{net}/mIoU']
                for net in others
                if f'{net}/mIoU' in last
            },
        }
        each = ', '.join(f'{net} {miou:.2f}' for net, miou in mious.items())
        yield f'mIoU in the validation at iteration {last["step"]}: {each}'
        if mious.get('student', 0) > last['mIoU']:
            yield (
                'the student is the better net: test with --cfg-options '
                'model.predict_with=student, export with --which student'
            )
        yield from self._beside_twin(runner, last)

    def _beside_twin(self, runner: Runner, last: dict) -> Iterator[str]:
        twin = Path(self.twin or twin_of(runner.work_dir))
        other = last_validation(twin)
        if not other:
            yield (
                f'supervised training: no validation in {_short(twin)}, so '
                'what the photos bring is not known'
                + _train_twin(runner, twin)
            )
            return
        differing = other_images(runner.cfg, other['start'])
        if differing:
            yield (
                f'supervised training: {_short(twin)} was validated with '
                f'other images, val_dataloader.dataset.{differing} '
                'differs: no comparison'
            )
            return
        gain = last['mIoU'] - other['mIoU']
        line = (
            f'PS-MT {last["mIoU"]:.2f}, supervised {other["mIoU"]:.2f}: '
            f'{gain:+.2f}'
        )
        start, steps = (
            runner.cfg.get('load_from'),
            (last['step'], other['step']),
        )
        if start:
            line += (
                f' (PS-MT: {steps[0]} iterations from {_short(start)}; '
                f'supervised: {steps[1]})'
            )
        elif steps[0] != steps[1]:
            line += (
                f' after {steps[0]} and {steps[1]} iterations. Give both '
                'the same train_cfg.max_iters to compare them'
            )
        yield line
        if gain <= 0 and (start or steps[1] <= steps[0]):
            yield 'What to try, in this order, with --cfg-options:'
            yield from self._remedies(runner, twin)

    def _remedies(self, runner: Runner, twin: Path) -> Iterator[str]:
        model = unwrap(runner)
        now, limit = model.warmup_iters, runner.max_iters
        values = dict(
            checkpoint=shlex.quote(
                _short(_last_checkpoint(twin) or twin / 'CHECKPOINT')
            ),
            warmup=min(max(2 * now, limit // 4), max(limit // 2, now)),
            warmup_now=now,
            weight=model.unsup_weight / 2,
            weight_now=model.unsup_weight,
        )
        for i, remedy in enumerate(REMEDIES, 1):
            yield f'  {i}. {remedy.format(**values)}'

    def _commands(
        self, runner: Runner, checkpoint: Optional[Path]
    ) -> Iterator[str]:
        if not checkpoint:
            yield (
                'no checkpoint was written: see '
                'default_hooks.checkpoint.interval'
            )
            return
        work_dir = Path(runner.work_dir)
        config = work_dir / Path(runner.cfg.filename or '').name
        if not config.is_file():
            config = runner.cfg.filename or 'CONFIG'
        # the tool finds the folder itself where the checkpoint is in there
        place = (
            []
            if checkpoint.parent == work_dir
            else ['--work-dir', _short(work_dir / 'test')]
        )
        plain = work_dir / f'plain_{checkpoint.stem}.pth'
        yield 'test:   ' + shlex.join(
            [*command('test'), _short(config), _short(checkpoint), *place]
        )
        yield 'export: ' + shlex.join(
            [*command('export'), _short(checkpoint), _short(plain)]
        )


def _last_checkpoint(work_dir: Path) -> Optional[Path]:
    paths = checkpoints([work_dir], 'iter_{}.pth')
    return next((path for path in paths if path.is_file()), None)


def _train_twin(runner: Runner, twin: Path) -> str:
    """The command that trains the twin, if its config is in its place."""
    own = Path(runner.cfg.filename or 'config.py')
    config = own.with_name(f'{own.stem}_supervised.py')
    if not config.is_file():
        return ''
    return ': ' + shlex.join(
        [*command('train'), _short(config), '--work-dir', _short(twin)]
    )


def _short(path: Union[str, Path]) -> str:
    """A path as one would type it here."""
    inside = Path(path).is_relative_to(Path.cwd())
    return str(Path(path).relative_to(Path.cwd()) if inside else path)
