"""What happens at SIGTERM, as schedulers of clusters send it."""

import atexit
import multiprocessing
import signal
import sys
import threading
from types import FrameType
from typing import Optional

import torch
import torch.distributed as dist
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from .checkpoint_hook import ReliableCheckpointHook


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Save and end after SIGTERM, so that ``--resume`` loses nothing.

    The iteration is finished and saved by :class:`ReliableCheckpointHook`,
    with accumulated gradients the step of the optimizer, and the process ends
    with exit code 143. Workers that load data let the signal pass. The ranks
    agree in each iteration; it is enough that one gets the signal. With
    another checkpoint hook SIGTERM ends the training as it always does. For
    iterations; works with any model of mmseg.
    """

    priority = 'LOWEST'  # the checkpoint of this iteration comes first

    checkpoint: Optional[ReliableCheckpointHook] = None  # outside a training

    def before_train(self, runner: Runner) -> None:
        self.checkpoint = next(
            (
                hook
                for hook in runner.hooks
                if isinstance(hook, ReliableCheckpointHook)
            ),
            None,
        )
        if self.checkpoint is None:
            runner.logger.warning(
                'After SIGTERM this training saves nothing: PreemptionHook '
                "needs default_hooks.checkpoint.type='ReliableCheckpointHook'"
            )
            return
        self.told = False
        self.group = (
            dist.new_group(backend='gloo') if is_distributed() else None
        )
        if threading.current_thread() is threading.main_thread():
            self.handler = signal.signal(signal.SIGTERM, self._tell)
            _mask(signal.SIG_BLOCK)
            atexit.register(_kill_workers)

    def before_train_iter(self, *args, **kwargs) -> None:
        _mask(signal.SIG_UNBLOCK)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self._end_if_told(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        if self.checkpoint is None:
            return
        _mask(signal.SIG_BLOCK)
        # a rank with fewer images does not wait for the others
        shared = torch.tensor(len(runner.val_dataloader))
        all_reduce(shared, 'min', self.group)
        self.shared = int(shared)

    def before_val_iter(self, *args, **kwargs) -> None:
        _mask(signal.SIG_UNBLOCK)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        if self.checkpoint is not None and batch_idx < self.shared:
            self._end_if_told(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        if (
            self.checkpoint is not None
            and threading.current_thread() is threading.main_thread()
        ):
            signal.signal(signal.SIGTERM, self.handler)

    def _tell(self, signum: int, frame: Optional[FrameType]) -> None:
        if self.told:  # by somebody who does not want to wait
            signal.signal(signal.SIGTERM, self.handler)
            signal.raise_signal(signal.SIGTERM)
        self.told = True

    def _end_if_told(self, runner: Runner, step: int) -> None:
        if self.checkpoint is None or not runner.optim_wrapper.should_update():
            return  # gradients of half a step are not in a checkpoint
        told = torch.tensor(self.told).int()
        all_reduce(told, 'max', self.group)
        if told:
            self.told = True
            self.checkpoint.save(runner, step)
            all_reduce(told, group=self.group)  # all wait for the first rank
            runner.logger.warning(
                f'SIGTERM: ended after iteration {step}, without the rest of '
                'a validation. --resume goes on from '
                f'{self.checkpoint.last_ckpt}'
            )
            sys.exit(128 + signal.SIGTERM)


def _mask(how: int) -> None:
    """Block SIGTERM, for the workers forked meanwhile too, or unblock it."""
    signal.pthread_sigmask(how, [signal.SIGTERM])


def _kill_workers() -> None:
    """Kill workers that SIGTERM does not reach; Python would wait for them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would complain
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
