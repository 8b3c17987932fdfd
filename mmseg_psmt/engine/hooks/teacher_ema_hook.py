"""Tells the model the iteration and moves its teachers."""

import math
from typing import Optional

from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmseg.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.plain_weights import lacking_weights
from ...stack import skip_trained_data
from ..model import backward_with, unwrap
from ..resume import follow_config, warn_of_standstill


def _total_batch(runner: Runner) -> int:
    return runner.train_dataloader.batch_size * get_world_size()


def refuse_recomputed_passes(runner: Runner) -> None:
    """Raise ValueError for what ends DDP after the warm-up.

    The recomputed activations of mmcv are in the graph once, and the two
    passes of the student twice.
    """
    model = unwrap(runner)
    if not is_model_wrapper(runner.model) or getattr(model, 'one_pass', True):
        return
    for name, module in model.segmentor.named_modules():
        if getattr(module, 'with_cp', False):
            raise ValueError(
                f'model.segmentor.{name} has with_cp=True, with which '
                'several processes cannot train a student that sees labeled '
                'and unlabeled images in two passes. Set with_cp=False, or '
                'model.one_pass=True if the head allows it'
            )


def random_head(model: nn.Module, state_dict: dict) -> str:
    """Say that a checkpoint does not train the decode head, if so.

    Such as one of a backbone alone, or of other classes.

    Args:
        model (nn.Module): Such as PSMT, before it is loaded.
        state_dict (dict): Of the checkpoint.

    Returns:
        str: Empty if all weights of the head are in it.
    """
    for name, why in lacking_weights(model, state_dict).items():
        if name.startswith('segmentor.decode_head.'):
            return (
                f'The decode head begins random, for {name} of the '
                f'checkpoint {why}. So the default warm-up stays '
                '(model.warmup_iters)'
            )
    return ''


@HOOKS.register_module()
class TeacherEMAHook(Hook):
    """Clock and EMA of :class:`PSMT`, or of any model with teachers.

    Before the training it calls ``model.set_schedule()``, if there is one, and
    sets ``model.backward``; before each iteration ``model.iter``. After each
    step of the optimizer it calls ``model.update_teacher()``. What follows the
    schedule is in the log, and in the checkpoint, so that a resumed training
    keeps it. The warm-up is left out where a checkpoint trains the head.
    BN statistics that move are averaged over the ranks first, so that all of
    them have the same teachers with plain BN, too. The optimizer's state of
    parameters that were frozen meanwhile is freed. A resumed training goes on
    with the next images; with another total batch it is refused, and where
    the config has changed see :func:`follow_config`.
    """

    trained = False  # whether the training begins with a trained head

    def before_run(self, runner: Runner) -> None:
        if isinstance(runner._train_loop, EpochBasedTrainLoop):
            raise ValueError(
                'PairSampler is endless, it has no epochs: set train_cfg=dict('
                "type='IterBasedTrainLoop', max_iters=..., val_interval=...), "
                'and by_epoch=False where schedules and hooks have it'
            )

    def before_train(self, runner: Runner) -> None:
        if (
            runner.cfg.get('compile')
            and getattr(unwrap(runner), 'tvat', None) is not None
        ):
            raise ValueError(
                'compile would compile the whole iteration, and torch cannot '
                'compile T-VAT: take it out of the config and compile the '
                "backbones, with dict(type='SpeedHook', compile=True) in "
                'custom_hooks, or set model.tvat=None'
            )
        batch = _total_batch(runner)
        images = len(runner.train_dataloader.dataset)
        iters = math.ceil(images / batch)
        runner.logger.info(
            f'One pass over {images} images takes {iters} '
            f'iterations at a total batch of {batch}'
        )
        self._set_schedule(runner, iters)
        refuse_recomputed_passes(runner)
        unwrap(runner).backward = backward_with(runner.optim_wrapper)
        planned = runner.cfg.get('total_batch')
        if planned not in (None, batch):
            runner.logger.warning(
                f'The total batch is {batch}, but the lengths of the config '
                f'are for {planned}: it must be read with WORLD_SIZE set to '
                'the number of processes, as tools/*_train.sh do, and have '
                'the batch_size that it is shipped with'
            )
        scale = runner.cfg.get('auto_scale_lr') or {}
        recipe, fine = scale.get('base_batch_size'), [None, batch]
        if not scale.get('enable'):  # what makes a step is as large
            fine.append(batch * runner.optim_wrapper._accumulative_counts)
        if recipe not in fine:
            runner.logger.warning(
                f'The total batch is {batch}, that of the recipe {recipe}; '
                'the learning rate is '
                + (
                    'scaled with it'
                    if scale.get('enable')
                    else 'not scaled with it: set optim_wrapper.optimizer.lr'
                )
            )
        warn_of_standstill(runner)

    def _set_schedule(self, runner: Runner, iters_per_pass: int) -> None:
        model = unwrap(runner)
        if not hasattr(model, 'set_schedule'):
            return
        model.set_schedule(
            runner.max_iters,
            iters_per_pass,
            runner.optim_wrapper._accumulative_counts,
            trained=self.trained,
        )
        runner.logger.info(
            f'Of {runner.max_iters} iterations the first '
            f'{model.warmup_iters} are the supervised warm-up '
            '(model.warmup_iters); in the next '
            f'{model.ramp_iters} the unsupervised weight rises to '
            f'{model.unsup_weight} (model.ramp_iters). A teacher learns for '
            f'{model.teachers.alternate_every} iterations at a time '
            '(model.teachers.alternate_every), with an EMA decay of '
            f'{model.teachers.decay:.4g} (model.teachers.decay)'
        )

    def before_train_epoch(self, runner: Runner) -> None:
        skip_trained_data(runner.train_loop)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        sampler = runner.train_dataloader.sampler
        checkpoint['meta'].update(
            total_batch=_total_batch(runner),
            world_size=get_world_size(),
            sampler_seed=getattr(sampler, 'seed', None),
        )
        model = unwrap(runner)
        if hasattr(model, 'set_schedule'):
            checkpoint['meta']['schedule'] = model.schedule

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        follow_config(runner, checkpoint)
        random = random_head(
            unwrap(runner), checkpoint.get('state_dict', checkpoint)
        )
        self.trained = not random
        if random and not runner._resume:
            runner.logger.warning(random)
        meta = checkpoint.get('meta', {})
        if not runner._resume or 'total_batch' not in meta:
            return
        batch, before = _total_batch(runner), meta['total_batch']
        if batch != before:
            raise ValueError(
                f'The checkpoint was trained with a total batch of {before}, '
                f'this training has {batch}: learning rate and lengths in '
                'the checkpoint are for the former. Resume with as many '
                'processes and the same batch_size'
            )
        if meta['world_size'] != get_world_size():
            runner.logger.warning(
                f'The checkpoint was trained with {meta["world_size"]} '
                f'processes, this training has {get_world_size()}: the images '
                'and their views go on as they would have, but other '
                'perturbations are drawn for them'
            )
        if meta['sampler_seed'] is not None:
            runner.train_dataloader.sampler.seed = meta['sampler_seed']
        if 'schedule' in meta:
            unwrap(runner).keep_schedule(meta['schedule'])

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        unwrap(runner).iter = runner.iter

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        model = unwrap(runner)
        all_reduce_params(
            [
                statistic
                for module in model.modules()
                if isinstance(module, _BatchNorm)
                and module.training
                and module.track_running_stats
                for statistic in (module.running_mean, module.running_var)
            ],
            op='mean',
        )
        if runner.optim_wrapper.should_update():  # it just has been
            model.update_teacher()
        state = runner.optim_wrapper.optimizer.state
        for param in [p for p in state if not p.requires_grad]:
            del state[param]
