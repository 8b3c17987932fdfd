"""Tells the model the iteration and moves its teachers."""
import math
from typing import Optional

from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


def unwrap(runner: Runner):
    """The model without its distributed wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


@HOOKS.register_module()
class TeacherEMAHook(Hook):
    """Clock and EMA of :class:`PSMT`, or of any model with teachers.

    Before the training it sets ``model.iters_per_pass``, before each
    iteration ``model.iter``; after it, it calls ``model.update_teacher()``.
    BN statistics that move are averaged over the ranks first, so that all of
    them have the same teachers with plain BN, too. The optimizer's state of
    parameters that were frozen meanwhile is freed.
    """

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        batch = loader.batch_size * get_world_size()
        iters = math.ceil(len(loader.dataset) / batch)
        unwrap(runner).iters_per_pass = iters
        runner.logger.info(
            f'One pass over {len(loader.dataset)} images takes '
            f'{iters} iterations at a total batch of {batch}')
        recipe = (runner.cfg.get('auto_scale_lr') or {}).get('base_batch_size')
        if recipe not in (None, batch):
            runner.logger.warning(
                f'The total batch is {batch}, that of the recipe {recipe}. '
                'auto_scale_lr.enable=True scales the learning rate with it; '
                'the lengths keep their meaning in passes if they are '
                'computed for it, as those of VOC and Cityscapes are from '
                'the number of processes')

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[dict] = None) -> None:
        unwrap(runner).iter = runner.iter

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        model = unwrap(runner)
        all_reduce_params([
            statistic for module in model.modules()
            if isinstance(module, _BatchNorm) and module.training
            and module.track_running_stats
            for statistic in (module.running_mean, module.running_var)
        ], op='mean')
        model.update_teacher()
        state = runner.optim_wrapper.optimizer.state
        for param in [p for p in state if not p.requires_grad]:
            del state[param]
