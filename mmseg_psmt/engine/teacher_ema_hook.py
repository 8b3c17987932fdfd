"""Tells the model the iteration and moves its teachers."""
import math
from typing import Optional

from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS


def unwrap(runner: Runner):
    """The model without its distributed wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


@HOOKS.register_module()
class TeacherEMAHook(Hook):
    """Clock and EMA of :class:`PSMT`.

    Before each iteration it sets ``model.iter``; after it, it calls
    ``model.update_teacher()``. It begins and ends the supervised warm-up of
    the teachers and then frees their optimizer state. BN statistics are
    averaged over the ranks, so that all of them have the same teachers with
    plain BN, too.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrap(runner)
        loader = runner.train_dataloader
        batch = loader.batch_size * get_world_size()
        iters_per_pass = math.ceil(len(loader.dataset) / batch)
        if model.alternate_every is None:
            model.alternate_every = iters_per_pass
        runner.logger.info(
            f'One pass over {len(loader.dataset)} unlabelled images takes '
            f'{iters_per_pass} iterations at a total batch of {batch}; the '
            f'active teacher changes every {model.alternate_every}')
        if runner.iter < model.warmup_iters:
            model.teachers.average_gradients()
        else:
            model.teachers.freeze()

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[dict] = None) -> None:
        model = unwrap(runner)
        model.iter = runner.iter
        if runner.iter == model.warmup_iters > 0:
            model.teachers.freeze()
            state = runner.optim_wrapper.optimizer.state
            for param in model.teachers.parameters():
                state.pop(param, None)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        model = unwrap(runner)
        warming_up = runner.iter < model.warmup_iters
        nets = [model.segmentor, *(model.teachers if warming_up else ())]
        all_reduce_params([
            buffer for net in nets for buffer in net.buffers()
            if buffer.is_floating_point()
        ], op='mean')
        model.update_teacher()
