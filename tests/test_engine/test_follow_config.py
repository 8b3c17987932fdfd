"""A resumed training heeds what its config says now."""

import logging
import re
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_psmt.engine import resume

POLY = dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False)


@MODELS.register_module()
class FourWeights(BaseModel):
    """Two groups of parameters that a training moves, and moves on."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 1)

    def forward(self, *inputs, mode):
        return dict(loss=self.net(torch.stack(inputs)).pow(2).mean())


def runner(
    work_dir,
    max_iters,
    schedule,
    resume=False,
    load_from=None,
    paramwise=dict(bias_decay_mult=0.0),
    **optimizer,
):
    optimizer = {'type': 'SGD', 'lr': 0.1, 'weight_decay': 1e-4, **optimizer}
    if optimizer['type'] == 'SGD':
        optimizer.setdefault('momentum', 0.9)
    return Runner.from_cfg(
        Config(
            dict(
                model=dict(type='FourWeights'),
                work_dir=str(work_dir),
                experiment_name=f'{work_dir.name}{time.time_ns()}',
                default_scope='mmseg',
                train_dataloader=dict(
                    batch_size=2,
                    num_workers=0,
                    dataset=[torch.arange(3.0) + i for i in range(4)],
                    sampler=dict(type='InfiniteSampler'),
                ),
                train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
                optim_wrapper=dict(
                    optimizer=optimizer, paramwise_cfg=paramwise
                ),
                param_scheduler=schedule,
                default_hooks=dict(
                    checkpoint=dict(
                        type='ReliableCheckpointHook',
                        by_epoch=False,
                        interval=6,
                    )
                ),
                resume=resume,
                load_from=load_from,
                log_level='WARNING',
            )
        )
    )


def go_on(work_dir, max_iters, schedule, **options):
    """Learning rates of each iteration of a resumed training, and words."""
    training = runner(work_dir, max_iters, schedule, resume=True, **options)
    rates, words = [], []
    handler = logging.Handler()
    handler.emit = lambda record: words.append(record.getMessage())
    training.logger.addHandler(handler)

    class Note(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            rates.append(runner.optim_wrapper.optimizer.param_groups[0]['lr'])

    training.register_hook(Note())
    training.train()
    said = [word for word in words if 'config has changed' in word]
    return training, rates, said


@pytest.fixture()
def trained(tmp_path):
    """A work dir with a checkpoint of iteration 6 of 6."""
    runner(tmp_path / 'work', 6, [dict(**POLY, end=6)]).train()
    return tmp_path / 'work'


def poly(lr, length, steps):
    """mmengine's reaches its minimum in the last iteration."""
    return pytest.approx([lr * (1 - i / (length - 1)) ** 0.9 for i in steps])


def test_a_longer_schedule_goes_on_as_if_it_had_been_so(trained):
    _, rates, said = go_on(trained, 12, [dict(**POLY, end=12)])
    assert rates == poly(0.1, 12, range(6, 12))
    assert len(said) == 1
    assert re.search(r'param_scheduler\[0\].end 6 -> 12', said[0])


def test_what_agrees_goes_on_without_a_word(tmp_path):
    runner(tmp_path, 6, [dict(**POLY, end=12)]).train()
    _, rates, said = go_on(tmp_path, 12, [dict(**POLY, end=12)])
    assert rates == poly(0.1, 12, range(6, 12)) and not said


def test_a_changed_rate_counts(tmp_path):
    runner(tmp_path, 6, [dict(**POLY, end=12)]).train()
    _, rates, said = go_on(tmp_path, 12, [dict(**POLY, end=12)], lr=0.3)
    assert rates == poly(0.3, 12, range(6, 12))
    assert 'lr 0.1 -> 0.3' in said[0]


@pytest.mark.parametrize(
    'name, value',
    [('momentum', 0.5), ('weight_decay', 0.02), ('nesterov', True)],
)
def test_a_changed_setting_counts_and_the_schedule_goes_on(
    tmp_path, name, value
):
    runner(tmp_path, 6, [dict(**POLY, end=12)]).train()
    training, rates, said = go_on(
        tmp_path, 12, [dict(**POLY, end=12)], **{name: value}
    )
    assert rates == poly(0.1, 12, range(6, 12))
    assert f'-> {value}' in said[0] and name in said[0]
    groups = training.optim_wrapper.optimizer.param_groups
    assert {group[name] for group in groups} <= {value, 0.0}  # of the bias
    assert any(group[name] == value for group in groups)


def test_a_rate_without_a_schedule_counts(tmp_path):
    runner(tmp_path, 6, None).train()
    _, rates, said = go_on(tmp_path, 8, None, lr=0.02)
    assert rates == [0.02] * 2 and 'lr 0.1 -> 0.02' in said[0]


@pytest.mark.parametrize(
    'schedule',
    [
        [
            dict(type='LinearLR', start_factor=0.1, end=8, by_epoch=False),
            dict(**POLY, begin=8, end=12),
        ],
        [dict(type='MultiStepLR', milestones=[4, 8], by_epoch=False)],
        [
            dict(
                type='CosineAnnealingLR',
                T_max=12,
                eta_min=1e-3,
                by_epoch=False,
            ),
            dict(
                type='LinearMomentum', start_factor=0.5, end=9, by_epoch=False
            ),
        ],
    ],
)
def test_any_other_schedule_goes_on_as_if_it_had_been_so(
    tmp_path, trained, schedule
):
    """Compared with a training that had it from the first iteration."""
    _, rates, said = go_on(trained, 12, schedule)
    assert said
    whole = runner(tmp_path / 'whole', 6, schedule)
    whole.train()
    _, expected, _ = go_on(tmp_path / 'whole', 12, schedule)
    assert rates == pytest.approx(expected, rel=1e-12)


def test_adam_whose_betas_a_schedule_moves(tmp_path):
    schedule = [
        dict(type='LinearMomentum', start_factor=0.5, end=6, by_epoch=False)
    ]
    runner(tmp_path, 6, schedule, type='AdamW', betas=(0.9, 0.99)).train()
    training, _, said = go_on(
        tmp_path, 8, schedule, type='AdamW', betas=(0.9, 0.99)
    )
    assert not said
    beta, _ = training.optim_wrapper.optimizer.param_groups[0]['betas']
    assert beta == pytest.approx(0.9)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(type='RMSprop'), 'another optimizer.*dampening.*alpha'),
        (dict(paramwise=None), 'groups of 2 parameters'),
    ],
)
def test_what_cannot_go_on_is_refused_with_a_remedy(trained, options, words):
    with pytest.raises(ValueError, match=words) as error:
        go_on(trained, 12, [dict(**POLY, end=12)], **options)
    assert 'load_from' in str(error.value)
    # the remedy
    training = runner(
        trained.parent / 'new',
        7,
        [dict(**POLY, end=7)],
        load_from=str(trained / 'iter_6.pth'),
        **options,
    )
    training.train()
    assert training.iter == 7


def test_a_schedule_that_follows_metrics_is_not_repeated(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='loss')
    work_dir = tmp_path / 'work'
    runner(work_dir, 6, [plateau]).train()
    _, rates, said = go_on(work_dir, 8, [plateau])
    assert len(rates) == 2 and not said
    with pytest.raises(ValueError, match='depends on metrics'):
        go_on(work_dir, 12, [dict(plateau, factor=0.5)])


@pytest.mark.parametrize(
    'schedule, ends',
    [
        ([dict(**POLY, end=6)], True),
        ([dict(**POLY, end=12)], False),
        (
            [
                dict(
                    type='LinearLR',
                    start_factor=1.0,
                    end_factor=0.0,
                    end=8,
                    by_epoch=False,
                )
            ],
            True,
        ),
        (
            [dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False)],
            False,
        ),
        (None, False),
    ],
)
def test_a_schedule_that_ends_before_the_training(tmp_path, schedule, ends):
    training = runner(tmp_path, 12, schedule)
    words = []
    training.train()
    training.logger.warning = words.append
    resume.warn_of_standstill(training)
    said = [word for word in words if 'max_iters=12, learns nothing' in word]
    assert len(said) == ends
