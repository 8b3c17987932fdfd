"""A hook that does something terrible before an iteration."""
import os
import resource
import signal

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class FaultHook(Hook):
    """Does ``deeds[i]`` before iteration i, counted from 1; 'val' is one."""

    def __init__(self, deeds):
        self.deeds = {str(when): deed for when, deed in deeds.items()}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.do(str(runner.iter + 1))

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.do('val')

    def do(self, when):
        if when in self.deeds:
            getattr(self, self.deeds[when])()

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def terminate(self):
        os.killpg(os.getpgid(0), signal.SIGTERM)

    def fill(self, size=2**21):
        """No file can grow beyond a size; a checkpoint is larger."""
        resource.setrlimit(resource.RLIMIT_FSIZE,
                           (size, resource.RLIM_INFINITY))

    def cut(self):
        """Likewise, but the process dies while it writes."""
        self.fill()
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    def empty(self):
        self.fill(resource.RLIM_INFINITY)
