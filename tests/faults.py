"""What goes wrong in tests, on the ranks of a training, too."""

import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmseg.registry import HOOKS, MODELS, TRANSFORMS

from mmseg_psmt.models import ConfCELoss


@MODELS.register_module()
class FaultyConfCELoss(ConfCELoss):
    """NaN in some calls, counted from 1, on one rank; its gradient is fine.

    Ranks have thresholds of their own.
    """

    def __init__(self, at, rank=0, thresholds=(0.0, 0.0)):
        super().__init__(thresholds[get_rank()])
        self.at = at if get_rank() == rank else ()
        self.calls = 0

    def forward(self, *args):
        self.calls += 1
        loss = super().forward(*args)
        return loss + math.nan if self.calls in self.at else loss


@TRANSFORMS.register_module()
class BadPixel:
    """One pixel without sense, in the image with this stem."""

    def __init__(self, stem, value=math.nan):
        self.stem = stem
        self.value = value

    def __call__(self, results):
        if Path(results['img_path']).stem == self.stem:
            results['img'] = results['img'].astype(np.float32)
            results['img'][5, 7, 1] = self.value
        return results


@TRANSFORMS.register_module()
class NoLabel:
    """A mask without a labeled pixel."""

    def __call__(self, results):
        results['gt_seg_map'][:] = 255
        return results


@HOOKS.register_module()
class NaNGradientHook(Hook):
    """NaN in the gradient of one weight at some iterations, from 1."""

    def __init__(self, at, factor=math.nan):
        self.at = at
        self.factor = factor

    def before_train(self, runner):
        weight = runner.model.segmentor.decode_head.conv_seg.weight
        weight.register_hook(
            lambda grad: (
                grad * self.factor if runner.iter + 1 in self.at else grad
            )
        )


@HOOKS.register_module()
class FaultHook(Hook):
    """Does ``deeds[i]`` before iteration i, counted from 1; 'val' is one.

    On one rank, -1 is the last one, or on all.
    """

    def __init__(self, deeds, rank=None):
        self.deeds = {str(when): deed for when, deed in deeds.items()}
        self.rank = rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.do(str(runner.iter + 1), runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.do('val', runner)

    def do(self, when, runner):
        if when in self.deeds and self.rank in (
            None,
            runner.rank,
            runner.rank - runner.world_size,
        ):
            self.dataset = runner.train_dataloader.dataset
            getattr(self, self.deeds[when])()

    def kill(self):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def terminate(self):
        """From outside: a worker takes one from its parent as an order."""
        subprocess.run(
            ['kill', '-TERM', '--', f'-{os.getpgid(0)}'],
            start_new_session=True,
            check=True,
        )

    def fill(self, size=2**21):
        """No file can grow beyond a size; a checkpoint is larger."""
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
        )

    def cut(self):
        """Likewise, but the process dies while it writes."""
        self.fill()
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    def empty(self):
        self.fill(resource.RLIM_INFINITY)

    def kill_worker(self):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    def fail(self):
        raise ArithmeticError('the injected fault')

    def spoil_labeled(self):
        self.spoil(self.dataset.labeled)

    def spoil_unlabeled(self):
        self.spoil(self.dataset.unlabeled)

    def spoil(self, dataset):
        """Overwrite the last image."""
        Path(dataset.get_data_info(-1)['img_path']).write_bytes(b'garbage')
