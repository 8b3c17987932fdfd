"""What a resumed training takes from its config, not from its checkpoint."""

import warnings
from typing import Any, Iterator, List

from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler
from mmengine.runner import IterBasedTrainLoop, Runner

# What the state of a scheduler holds beside its settings.
_PROGRESS = (
    'last_step',
    '_global_step',
    '_last_value',
    'base_values',
    'verbose',
    'best',
    'num_bad_epochs',
    'cooldown_counter',
)


def follow_config(runner: Runner, checkpoint: dict) -> None:
    """Apply the optimizer settings of the config to a resumed training.

    mmengine takes learning rate, momentum, weight decay and schedule from
    the checkpoint, whatever the config says now. Where they differ, here the
    config counts, in one line of the log: settings hold from now on, and the
    learning rate goes on as if its schedule had been so from the beginning.
    Does nothing where they agree, or where nothing is resumed.

    Args:
        runner (Runner): Of a training, whose optimizer and schedulers are
            those of the config, at their beginning.
        checkpoint (dict): What is resumed from; changed in place.

    Raises:
        ValueError: If the optimizer is another one, has other parameter
            groups, or its changed schedule depends on past metrics.
    """
    saved = checkpoint.get('optimizer')
    if not (runner._resume and saved):
        return
    wrapper = runner.optim_wrapper
    if not (
        isinstance(wrapper, OptimWrapper)
        and isinstance(runner.train_loop, IterBasedTrainLoop)
    ):
        return
    groups = wrapper.optimizer.param_groups
    _require_same_parameters(saved['param_groups'], groups)
    step = checkpoint['meta']['iter']
    schedulers = runner.param_schedulers or []
    scheduled = {scheduler.param_name for scheduler in schedulers}
    names = _names(runner)
    if any(getattr(scheduler, 'use_betas', False) for scheduler in schedulers):
        names.remove('betas')  # it moves them, and keeps no initial ones
        scheduled.add('betas')
    changed = {
        name: (_setting(old, name), _setting(new, name))
        for old, new in zip(saved['param_groups'], groups)
        for name in names
        if name in old
        and name in new
        and _setting(old, name) != _setting(new, name)
    }
    words = [
        f'{name} {old!r} -> {new!r}' for name, (old, new) in changed.items()
    ]

    planned = [scheduler.state_dict() for scheduler in schedulers]
    rescheduled = list(
        _differences(checkpoint.get('param_schedulers') or [], planned)
    )
    words += rescheduled
    if not words:
        return
    if rescheduled or scheduled & changed.keys():
        if any(
            isinstance(scheduler, ReduceOnPlateauParamScheduler)
            for scheduler in schedulers
        ):
            raise ValueError(
                f'The config has changed since the checkpoint of iteration '
                f'{step}: {", ".join(words)}; but a schedule that depends on '
                'metrics cannot be repeated. Put it back, or start with '
                f'load_from={runner._load_from!r} in place of --resume'
            )
        _repeat(schedulers, step)
        checkpoint['param_schedulers'] = [
            scheduler.state_dict() for scheduler in schedulers
        ]
        changed.update(
            dict.fromkeys(
                key
                for name in {'lr', *scheduled}
                for key in (name, f'initial_{name}')
            )
        )
    pairs = [*zip(saved['param_groups'], groups)]
    if 'base_param_settings' in saved:
        pairs.append(
            (saved['base_param_settings'], wrapper.base_param_settings)
        )
    for old, new in pairs:
        old.update({name: new[name] for name in changed if name in new})
    rate = max(group['lr'] for group in saved['param_groups'])
    runner.logger.warning(
        f'The config has changed since the checkpoint of iteration {step}: '
        f'{", ".join(words)}. The config counts, as if it had been so from '
        f'the beginning: the learning rate goes on at {rate:.4g}'
    )


def warn_of_standstill(runner: Runner) -> None:
    """Warn of a schedule that ends at 0 before the training does."""
    for scheduler in runner.param_schedulers or []:
        last = getattr(
            scheduler, 'eta_min', getattr(scheduler, 'end_factor', None)
        )
        if (
            getattr(scheduler, 'param_name', None) == 'lr'
            and last == 0
            and not scheduler.by_epoch
            and scheduler.end < runner.max_iters
        ):
            runner.logger.warning(
                f'The learning rate is 0 from iteration {scheduler.end} on, '
                'where param_scheduler ends: the training, to '
                f'max_iters={runner.max_iters}, learns nothing after it. Let '
                'the end of param_scheduler be train_cfg.max_iters'
            )


def _names(runner: Runner) -> List[str]:
    """Settings of an optimizer that a config has, without its progress."""
    cfg = runner.cfg.get('optim_wrapper') or {}
    given = cfg.get('optimizer') if isinstance(cfg, dict) else None
    given = [*given] if isinstance(given, dict) else []
    return [
        *dict.fromkeys(['lr', 'momentum', 'betas', 'weight_decay', *given])
    ]


def _setting(group: dict, name: str) -> Any:
    """Value that a group began with, before any schedule."""
    value = group.get(f'initial_{name}', group[name])
    return [*value] if isinstance(value, (list, tuple)) else value


def _require_same_parameters(before: List[dict], now: List[dict]) -> None:
    remedy = (
        'Put it back, or start with load_from, the checkpoint, in '
        'place of --resume'
    )
    sizes = [
        [len(group['params']) for group in groups] for groups in (before, now)
    ]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'The optimizer of the checkpoint has {len(before)} groups of '
            f'{sum(sizes[0])} parameters in all, that of the config '
            f'{len(now)} of {sum(sizes[1])}: model, '
            'optim_wrapper.paramwise_cfg or constructor have changed. '
            f'{remedy}'
        )
    # torch's versions add settings, which stand on one side only
    ours, theirs = (
        {name for name in groups[0] if not name.startswith('initial_')}
        for groups in (now, before)
    )
    if ours - theirs and theirs - ours:
        raise ValueError(
            'The checkpoint is of another optimizer, with '
            f'{sorted(theirs - ours)} where that of the config has '
            f'{sorted(ours - theirs)}: optim_wrapper.optimizer.type has '
            f'changed. {remedy}'
        )


def _differences(before: List[dict], now: List[dict]) -> Iterator[str]:
    """Settings of schedulers that are not what they were."""
    if len(before) != len(now):
        yield f'param_scheduler has {len(now)} parts, not {len(before)}'
        return
    for i, (old, new) in enumerate(zip(before, now)):
        for name in new:
            if name not in _PROGRESS and old.get(name) != new[name]:
                yield (
                    f'param_scheduler[{i}].{name} {old.get(name)!r} -> '
                    f'{new[name]!r}'
                )


def _repeat(schedulers: list, steps: int) -> None:
    """Step fresh schedulers as those of a training were."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # there is no step of the optimizer
        for _ in range(steps):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
