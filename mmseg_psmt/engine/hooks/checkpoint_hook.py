"""Checkpoints that a fault at any moment leaves whole."""

import logging
import os
import shutil
import zipfile
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint
from mmseg.registry import HOOKS

from ..resume import follow_config


class AtomicBackend(LocalBackend):
    """Local files that appear when they are whole."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes; after an error or a kill the old file is still there.

        Raises:
            OSError: If they cannot be written.
        """
        part = Path(f'{filepath}.part')
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            part.replace(filepath)
        except OSError:
            part.unlink(missing_ok=True)
            raise


register_backend('atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class ReliableCheckpointHook(CheckpointHook):
    """:class:`CheckpointHook` that loses nothing; for iterations.

    - A checkpoint appears when it is whole, and what it replaces is removed
      after that, so that one more fits on the disk than are kept.
    - One that cannot be written is an error in the log, and the training goes
      on; the last one stops it.
    - ``--resume`` takes the last one that is whole and says which. A
      ``load_from`` that the training began with, outside its folders, does
      not matter any more then. What the config says now of optimizer and
      schedule counts, see :func:`follow_config`.

    ``out_dir`` must be local.
    """

    required = False  # whether a checkpoint that fails ends the training
    outdated = ()  # what goes once the next one is whole

    def before_run(self, runner: Runner) -> None:
        if not runner._resume:
            return
        folders = [Path(runner.work_dir)]
        if self.out_dir is not None:
            folders.append(Path(self.out_dir) / folders[0].name)
        start = runner._load_from and Path(runner._load_from).resolve().parent
        paths = checkpoints(folders, self.filename_tmpl)
        if start is None or (
            paths and start not in [p.resolve() for p in folders]
        ):
            runner._load_from = last_whole(paths, folders, runner.logger)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        follow_config(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        if self.backend_args is None and self.file_client_args is None:
            if '://' in str(self.out_dir):
                raise ValueError(
                    'ReliableCheckpointHook writes to local folders, not to '
                    f'default_hooks.checkpoint.out_dir={self.out_dir!r}: use '
                    "type='CheckpointHook' for that"
                )
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        steps = runner.optim_wrapper._accumulative_counts
        if self.interval > 0 and self.interval % steps:
            runner.logger.warning(
                f'A checkpoint after each {self.interval} iterations loses '
                f'gradients, for {steps} of them make a step: let '
                'default_hooks.checkpoint.interval be a multiple of that'
            )
        if is_main_process():
            for part in Path(self.out_dir).glob('*.pth.part'):
                part.unlink()
        self.outdated = []
        self.remove = self.file_backend.remove
        self.file_backend.remove = self.outdated.append

    def save(self, runner: Runner, step: int) -> None:
        """Save after iteration ``step``, whatever the interval.

        Raises:
            OSError: If it cannot be written.
        """
        self.required = True
        self._save_checkpoint_with_step(
            runner, step, dict(epoch=runner.epoch, iter=step)
        )

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        with self._attempt(runner, self.filename_tmpl.format(step)):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._attempt(runner, 'the best checkpoint'):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _attempt(self, runner: Runner, name: str) -> Iterator[None]:
        info = runner.message_hub.runtime_info
        before = (
            dict(info),
            {
                key: copy(value)
                for key, value in vars(self).items()
                if key in ('keep_ckpt_ids', 'last_ckpt') or 'best_ckpt' in key
            },
        )
        try:
            yield
        except OSError as error:
            self.outdated.clear()
            info.clear()
            info.update(before[0])
            vars(self).update(before[1])
            free = shutil.disk_usage(self.out_dir).free / 2**20
            message = (
                f'{name} could not be written to {self.out_dir} ({error}), '
                f'where {free:.0f} MiB are free. The last one is '
                f'{self.last_ckpt}'
            )
            if self.required or runner.iter + 1 >= runner.max_iters:
                raise OSError(f'{message}. Make room and --resume') from error
            runner.logger.error(
                f'{message}. Make room: the training goes on and the next '
                'checkpoint is tried at its time'
            )
        while self.outdated:
            path = self.outdated.pop()
            if os.path.exists(path):
                self.remove(path)


def checkpoints(folders: Sequence[Path], template: str) -> List[Path]:
    """Checkpoints of a training, the best one to resume from first.

    Args:
        folders (Sequence[Path]): The work dir, which may have been moved, and
            others.
        template (str): Of the names of checkpoints, with ``{}``.

    Returns:
        list[Path]: What mmengine noted, then all by their age.
    """
    noted = find_latest_checkpoint(str(folders[0]))
    paths = sorted(
        (
            path
            for folder in folders
            for path in folder.glob(template.format('*'))
        ),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    if noted:
        paths = [folders[0] / Path(noted).name, Path(noted), *paths]
    return [*dict.fromkeys(paths)]


def last_whole(
    paths: Sequence[Path], folders: Sequence[Path], logger: logging.Logger
) -> Optional[str]:
    """The checkpoint that a training resumes from.

    Args:
        paths (Sequence[Path]): See :func:`checkpoints`.
        folders (Sequence[Path]): Where they were looked for.
        logger (logging.Logger): Is told which and why.

    Returns:
        str | None: The first checkpoint that is whole; None if there is none
        at all.

    Raises:
        ValueError: If all are broken.
    """
    places = ', '.join(map(str, folders))
    for path in paths:
        fault = _fault(path)
        if not fault:
            logger.info(f'Resuming from {path}')
            return str(path)
        logger.warning(f'Not resuming from {path}: {fault}')
    if paths:
        raise ValueError(
            f'No checkpoint in {places} is whole: '
            f'{[*map(str, paths)]}. Start without --resume'
        )
    logger.warning(f'No checkpoint in {places}: starting from the beginning')
    return None


def _fault(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        return damaged and f'{damaged} in it is damaged'
    except (OSError, zipfile.BadZipFile) as error:
        return f'{type(error).__name__}: {error}'
