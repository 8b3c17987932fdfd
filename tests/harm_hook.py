"""A hook that does harm in the middle of a training."""
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


def end_worker(sig):
    """From outside: torch takes a SIGTERM of the parent for an order."""
    worker = multiprocessing.active_children()[0].pid
    subprocess.run(['kill', f'-{sig}', str(worker)], check=True)


def spoil(dataset):
    """Overwrite the last image."""
    Path(dataset.get_data_info(-1)['img_path']).write_bytes(b'garbage')


@HOOKS.register_module()
class HarmHook(Hook):
    """Does what the environment variable FAULT names, on the last rank."""

    def before_train(self, runner):
        self.fault = os.environ['FAULT']
        self.last = runner.rank == runner.world_size - 1

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        dataset = runner.train_dataloader.dataset
        if self.fault == 'images' and runner.iter == 2:
            spoil(dataset.unlabeled)
        elif self.fault == 'images' and runner.iter == 20:
            spoil(dataset.labeled)
        elif self.last and runner.iter == 2:
            self.harm()

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.fault.endswith('in validation') and self.last:
            self.fault = self.fault.removesuffix(' in validation')
            self.harm()

    def harm(self):
        if self.fault == 'worker killed':
            end_worker('KILL')
        elif self.fault == 'worker terminated':
            end_worker('TERM')
        elif self.fault == 'exception':
            raise ArithmeticError('the injected fault')
        elif self.fault == 'killed':
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
