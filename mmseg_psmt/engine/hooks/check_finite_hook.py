"""Stops a training before what is not finite moves a weight."""

from typing import Dict, List, Optional

import torch
import torch.nn as nn
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from ..model import unwrap

MAX_IDLE = 20  # a GradScaler begins at 2**16 and may halve it that often


@HOOKS.register_module()
class CheckFiniteHook(Hook):
    """Stop at an iteration that is not finite, and say why.

    Right before the optimizer's step it checks losses, gradients and the
    buffers that the iteration moved, on all ranks together. Where there is
    no step, because gradients accumulate or a GradScaler leaves it out, it
    checks losses and buffers before the teachers move. What is not finite
    changes no weight, no state of the optimizer and no buffer: the
    FloatingPointError names the iteration, the terms of the loss and the
    images. Works with any model of mmseg.
    """

    priority = 'ABOVE_NORMAL'  # TeacherEMAHook has NORMAL

    def before_train(self, runner: Runner) -> None:
        self.idle = 0
        unwrap(runner).register_forward_hook(self._remember)
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda optimizer, *_: self._before_step(runner, optimizer)
        )

    def _remember(self, module: nn.Module, args: tuple, output) -> None:
        if isinstance(output, dict):  # not a prediction
            self.losses = output

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        self.idle += 1
        self.checked, self.losses, self.batch = False, {}, data_batch
        moving = _moving(unwrap(runner))
        copies = moving and torch._foreach_mul([*moving.values()], 1)
        self.before = dict(zip(moving, copies))

    def _before_step(
        self, runner: Runner, optimizer: torch.optim.Optimizer
    ) -> None:
        grads = [
            param.grad
            for group in optimizer.param_groups
            for param in group['params']
            if param.grad is not None
        ]
        # A fused optimizer unscales, and leaves a step out, by itself.
        overflow = getattr(optimizer, 'found_inf', None)
        self._check(runner, grads if overflow is None else [])
        if not overflow:
            self.idle = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        if not self.checked:
            self._check(runner, [])
        if self.idle >= MAX_IDLE * runner.optim_wrapper._accumulative_counts:
            raise FloatingPointError(
                f'No step in {self.idle} iterations, the last of them '
                f'{runner.iter + 1}: gradients are not finite at any scale of '
                'AMP. Begin again with a lower optim_wrapper.optimizer.lr, '
                'from a checkpoint with load_from if you like, or without '
                '--amp'
            )

    @torch.no_grad()
    def _check(self, runner: Runner, grads: List[Tensor]) -> None:
        self.checked = True
        model = unwrap(runner)
        terms = {
            name: value.float()
            for name, value in model.parse_losses(self.losses)[1].items()
            if 'loss' in name
        }
        buffers = {
            name: buffer
            for name, buffer in _moving(model).items()
            if buffer.is_floating_point()
        }
        tensors = [*terms.values(), *buffers.values(), *grads]
        norms = torch._foreach_norm(tensors)
        wrong = (~torch.stack(norms).isfinite()).sum()
        all_reduce(wrong)
        fault = self._fault(runner, terms, buffers) if wrong else ''
        if not fault:
            return
        now = dict(model.named_buffers())
        for name, buffer in self.before.items():
            now[name].copy_(buffer)
        raise FloatingPointError(
            f'{fault}. Student and teachers are still those of the iteration '
            'before. Go on with --resume and a lower '
            'optim_wrapper.optimizer.lr, with optim_wrapper.clip_grad, or '
            'without such images'
        )

    def _fault(
        self,
        runner: Runner,
        terms: Dict[str, Tensor],
        buffers: Dict[str, Tensor],
    ) -> str:
        """The iteration, and from each faulty rank what and which images.

        Empty where a norm has overflowed of values that are finite.
        """

        def wrong(tensors: Dict[str, Tensor]) -> List[str]:
            return [
                name
                for name, tensor in tensors.items()
                if not tensor.isfinite().all()
            ]

        blamed = wrong(terms)
        rest = wrong(
            {
                f'gradient of {name}': param.grad
                for name, param in unwrap(runner).named_parameters()
                if param.grad is not None
            }
        ) + wrong(buffers)
        what = ', '.join(blamed or ['no term of the loss'] + rest[:3])
        found = all_gather_object(
            (
                blamed,
                rest,
                f'{what} (rank {runner.rank}, {_images(self.batch)})',
            )
        )
        texts = [text for own, _, text in found if own] or [
            text for _, own, text in found if own
        ]
        if not texts:
            return ''
        return f'Iteration {runner.iter + 1} is not finite: ' + '; '.join(
            texts
        )


def _moving(model: nn.Module) -> Dict[str, Tensor]:
    """The buffers of a checkpoint that training moves, such as BN's."""
    return {
        name: buffer
        for prefix, module in model.named_modules()
        if module.training
        for name, buffer in module.named_buffers(prefix, recurse=False)
        if name.split('.')[-1] not in module._non_persistent_buffers_set
    }


def _images(batch: dict) -> str:
    """Files of a batch by view; views of the same files are named once."""
    views = {'images': batch} if 'data_samples' in batch else batch
    files = {}
    for view, part in views.items():
        paths = [str(s.get('img_path')) for s in part['data_samples']]
        files.setdefault(', '.join(paths), view)
    return ', '.join(f'{view}: {paths}' for paths, view in files.items())
