"""Losses for the log, without a wait in each iteration."""
from typing import Optional

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from mmengine.utils import apply_to
from mmseg.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """:class:`RuntimeInfoHook` that fetches losses when they are read.

    The parent waits for the device for each of them in each iteration. Here
    they stay on the device until the next line of the log, validation or
    checkpoint, and are then fetched at once; logs and checkpoints are the
    same. Replaces ``default_hooks.runtime_info`` of any model.
    """

    def __init__(self):
        super().__init__()
        self.names, self.values = [], []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.interval = next((hook.interval for hook in runner.hooks
                              if isinstance(hook, LoggerHook)), 1)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        if outputs:
            self.names += outputs
            self.values.append(
                torch.stack([torch.as_tensor(value).detach().float()
                             for value in outputs.values()]))
        if (self.every_n_inner_iters(batch_idx, self.interval)
                or self.end_of_epoch(runner.train_dataloader, batch_idx)
                or self.is_last_train_iter(runner)):
            self._fetch(runner)

    def before_val(self, runner: Runner) -> None:
        self._fetch(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._fetch(runner)
        checkpoint['message_hub'] = apply_to(
            runner.message_hub.state_dict(), torch.is_tensor, torch.Tensor.cpu)

    def _fetch(self, runner: Runner) -> None:
        values = torch.cat(self.values).tolist() if self.values else []
        for name, value in zip(self.names, values):
            runner.message_hub.update_scalar(f'train/{name}', value)
        self.names, self.values = [], []
