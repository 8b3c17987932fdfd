"""Numbers that are not finite, made for real, reach no teacher."""

import copy
import json
import math
import os
import time
from functools import partial
from pathlib import Path

import faults  # noqa: F401
import mmseg
import numpy as np
import processes
import pytest
import torch
from fake_data import save_photo, write_list
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from PIL import Image
from test_train_and_test import REPO

SHAPES = f'{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
LABELED, UNLABELED = (
    [f'{kind}{i}' for i in range(num)]
    for kind, num in (('known', 5), ('new', 7))
)
THIN = {
    'backbone.base_channels': 8,
    'decode_head.in_channels': 64,
    'decode_head.c1_in_channels': 8,
    'decode_head.channels': 8,
    'decode_head.c1_channels': 4,
}
NAN_LOSS = partial(dict, type='FaultyConfCELoss')
MAX_IDLE = 'mmseg_psmt.engine.hooks.check_finite_hook.MAX_IDLE'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """5 labeled and 7 unlabeled images of 32 x 32."""
    root = tmp_path_factory.mktemp('root')
    shapes = root / 'shapes'
    for i, name in enumerate(LABELED + UNLABELED):
        ids = (
            np.random.default_rng(i)
            .integers(6, size=(4, 4))
            .repeat(8, 0)
            .repeat(8, 1)
            .astype(np.uint8)
        )
        save_photo(
            shapes / f'JPEGImages/{name}.jpg',
            ids,
            np.random.default_rng(0).integers(256, size=(6, 3)),
        )
        mask = shapes / f'SegmentationClass/{name}.png'
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(ids).save(mask)
    lists = shapes / 'ImageSets/Segmentation/semi/1_8'
    write_list(lists / 'labeled.txt', LABELED)
    write_list(lists / 'unlabeled.txt', UNLABELED)
    write_list(shapes / 'ImageSets/Segmentation/val.txt', LABELED)
    return root


class Diary(Hook):
    """Writes down everything that training moves, before each iteration."""

    priority = 'HIGHEST'

    def before_train(self, runner):
        self.states, self.batches = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model, optimizer = runner.model, runner.optim_wrapper.optimizer
        state = dict(model.state_dict())
        for i, values in optimizer.state_dict()['state'].items():
            for key, value in values.items():
                state[f'optimizer.{i}.{key}'] = value
        self.states.append(copy.deepcopy(state))
        self.batches.append(data_batch)

    def after_train(self, runner):
        self.before_train_iter(runner, 0)

    def files(self, iteration):
        return {
            sample.img_path
            for view in self.batches[iteration - 1].values()
            for sample in view['data_samples']
        }


@pytest.fixture
def build(root, tmp_path, monkeypatch):
    """Runner of a tiny PS-MT with a diary, and its log of warnings."""
    register_all_modules()
    monkeypatch.setenv('PSMT_DATA', str(root))
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )

    def build(
        iters=5,
        hooks=(),
        pixel=(None, None),
        optim={},
        accumulate=1,
        no_label=False,
        config=SHAPES,
        **options,
    ):
        cfg = Config.fromfile(config)
        psmt = 'segmentor' in cfg.model
        dataset = cfg.train_dataloader.dataset
        bad = dict(zip(('type', 'stem', 'value'), ('BadPixel', *pixel[1:])))
        for part in ('labeled', 'unlabeled') if psmt else ():
            views = dataset[part].pipeline[-1]
            if pixel[0] in views:
                views[pixel[0]].insert(-1, bad)
        if no_label:
            dataset.labeled.pipeline.insert(-1, dict(type='NoLabel'))
        if psmt:
            cfg.model.update(
                {
                    'warmup_iters': 0,
                    'ramp_iters': 0,
                    'consistency': NAN_LOSS(at=()),
                    **options,
                }
            )
        else:
            dataset.pipeline.insert(-1, bad)
        prefix = 'model.segmentor.' if psmt else 'model.'
        cfg.merge_from_dict(
            {
                **{prefix + key: value for key, value in THIN.items()},
                'model.data_preprocessor.size': (32, 32),
                'train_dataloader.batch_size': 2,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'train_cfg.max_iters': iters,
                'default_hooks.checkpoint': None,
                'default_hooks.logger': None,
                'log_level': 'ERROR',
                'work_dir': str(tmp_path),
                # of two that begin in the same second, one has the other's log
                'experiment_name': f'finite{time.time_ns()}',
            }
        )
        cfg.optim_wrapper.update(optim, accumulative_counts=accumulate)
        cfg.custom_hooks = [
            *([dict(type='TeacherEMAHook')] if psmt else []),
            dict(type='CheckFiniteHook'),
            *hooks,
        ]
        for part in ('val', 'test'):
            for key in ('dataloader', 'cfg', 'evaluator'):
                cfg.pop(f'{part}_{key}', None)
        cfg.vis_backends = cfg.visualizer.vis_backends = []
        runner = Runner.from_cfg(cfg)
        runner.diary, runner.warnings = Diary(), []
        runner.register_hook(runner.diary)
        monkeypatch.setattr(runner.logger, 'warning', runner.warnings.append)
        return runner

    return build


def now(runner):
    runner.diary.before_train_iter(runner, 0)
    return runner.diary.states[-1]


def assert_equal(left, right, but=()):
    assert left.keys() == right.keys()
    for name in left:
        if not name.startswith(tuple(but)):
            assert torch.equal(left[name], right[name]), name


def assert_finite(state):
    for name, value in state.items():
        assert value.isfinite().all(), name


FAULTS = {
    'loss': (dict(consistency=NAN_LOSS(at=[3])), 'unsup.loss'),
    'gradient': (
        dict(hooks=[dict(type='NaNGradientHook', at=[3])]),
        'no term of the loss, gradient of segmentor.decode_head.'
        'conv_seg.weight',
    ),
    'labeled image': (dict(pixel=('labeled', 'known3')), 'sup.decode.loss_ce'),
    'strong image': (dict(pixel=('strong', 'new4'), mix=[]), 'unsup.loss'),
    # loss and gradients are finite, the variance of its feature is not
    'huge pixel': (
        dict(pixel=('strong', 'new4', 1e25), mix=[]),
        'loss, segmentor.backbone.stem.1.running_var (',
    ),
    'warm-up': (
        dict(
            pixel=('labeled_weak', 'known3'),
            teachers=dict(init='independent'),
            warmup_iters=99,
        ),
        'warm1.decode.loss_ce, warm2.decode.loss_ce',
    ),
}


def faulty(runner, options):
    """Iterations that must fail, from what was injected."""
    if 'pixel' not in options:
        return [3]
    view, stem = options['pixel'][:2]
    return [
        i
        for i, batch in enumerate(runner.diary.batches, 1)
        if batch
        and stem
        in [Path(s.img_path).stem for s in batch[view]['data_samples']]
    ]


def assert_named(message, runner, iteration, term):
    assert f'Iteration {iteration} is not finite: ' in message
    assert term in message
    for file in runner.diary.files(iteration):
        assert message.count(file) == 1


@pytest.mark.parametrize('fault', FAULTS)
def test_stop_leaves_everything_as_it_was(fault, build):
    options, term = FAULTS[fault]
    runner = build(iters=9, **options)
    with pytest.raises(FloatingPointError) as stop:
        runner.train()
    iteration = len(runner.diary.states)
    assert faulty(runner, options) == [iteration]
    assert_named(str(stop.value), runner, iteration, term)
    for remedy in ('--resume', 'optimizer.lr', 'clip_grad'):
        assert remedy in str(stop.value)
    states = [*runner.diary.states]
    for before, after in zip(states, states[1:]):
        with pytest.raises(AssertionError):  # it learned until then
            assert_equal(before, after, ['teachers.', 'optimizer.'])
    assert_equal(now(runner), states[-1])
    assert_finite(states[-1])


def test_a_weak_image_without_numbers_teaches_nothing(build):
    """No pixel of it is confident, and none has a gradient."""
    options = dict(pixel=('weak', 'new4'), mix=[], tvat=None)
    runner = build(iters=6, **options)
    runner.train()
    assert faulty(runner, options)
    assert_finite(now(runner))


def test_a_huge_gradient_is_finite(build):
    """Though the square of its norm is not."""
    runner = build(
        iters=1, hooks=[dict(type='NaNGradientHook', at=[1], factor=1e30)]
    )
    runner.train()
    weight = runner.model.segmentor.decode_head.conv_seg.weight
    assert 1e19 < weight.abs().max() < math.inf


@pytest.mark.parametrize('at', [3, 4])
def test_gradients_that_accumulate(at, build, monkeypatch):
    """The step is in each second iteration; the fault in either."""
    monkeypatch.setattr(MAX_IDLE, 1)
    runner = build(iters=8, consistency=NAN_LOSS(at=[at]), accumulate=2)
    with pytest.raises(FloatingPointError, match=f'Iteration {at} is not'):
        runner.train()
    states = [*runner.diary.states, now(runner)]
    assert len(states) == at + 1
    assert_equal(states[at - 1], states[at])
    assert_finite(states[at])
    weight = 'segmentor.decode_head.conv_seg.weight'
    moved = [
        i
        for i in range(1, at + 1)
        if not torch.equal(states[i - 1][weight], states[i][weight])
    ]
    assert moved == [2]


@pytest.fixture
def scaled(build, monkeypatch):
    """A build with the AmpOptimWrapper and a GradScaler of the CPU."""
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper.'
    monkeypatch.setattr(module + 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        module + 'GradScaler', partial(torch.amp.GradScaler, 'cpu')
    )

    def scaled(scale, optimizer=dict(type='SGD', lr=0.1), **options):
        return build(
            optim={
                'type': 'AmpOptimWrapper',
                'dtype': 'bfloat16',
                'loss_scale': dict(init_scale=scale),
                'optimizer': optimizer,
            },
            **options,
        )

    return scaled


@pytest.mark.parametrize('fused', [False, True])
def test_overflow_of_a_scaled_gradient_is_no_fault(fused, scaled):
    runner = scaled(
        2.0**127,
        iters=8,
        unsup_weight=4.0,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.0, fused=fused),
    )
    runner.train()
    states = runner.diary.states
    weight = 'segmentor.decode_head.conv_seg.weight'
    assert torch.equal(states[0][weight], states[1][weight])
    assert not torch.equal(states[0][weight], states[-1][weight])
    assert runner.warnings == []
    assert_finite(states[-1])


def test_a_scaler_does_not_hide_a_loss(scaled):
    runner = scaled(1.0, pixel=('labeled', 'known3'), iters=6)
    with pytest.raises(FloatingPointError, match='sup.decode.loss_ce'):
        runner.train()
    assert_equal(now(runner), runner.diary.states[-2])
    assert_finite(now(runner))


@pytest.mark.parametrize('fused', [False, True])
def test_a_scaler_that_never_steps(fused, scaled, monkeypatch):
    monkeypatch.setattr(MAX_IDLE, 4)
    runner = scaled(
        1.0,
        iters=9,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.0, fused=fused),
        hooks=[dict(type='NaNGradientHook', at=range(2, 9))],
    )
    with pytest.raises(
        FloatingPointError,
        match=(
            r'with a lower optim_wrapper\.optimizer\.lr, from a checkpoint '
            'with load_from .*, or without --amp'
        ),
    ):
        runner.train()
    assert runner.iter + 1 == 5
    assert_finite(now(runner))


def test_a_plain_model_of_mmseg(build):
    runner = build(
        pixel=('labeled', 'known3'),
        iters=6,
        config=SHAPES.replace('.py', '_supervised.py'),
    )
    # such as the mask of an attention
    runner.model.register_buffer(
        'mask', torch.tensor([0.0, -torch.inf]), False
    )
    runner.model.register_buffer('empty', torch.empty(0))
    with pytest.raises(FloatingPointError) as stop:
        runner.train()
    text = str(stop.value)
    assert 'not finite: loss, decode.loss_ce (rank 0, images: ' in text
    assert 'known3.jpg' in text
    assert_finite(now(runner))


def losses_of(cfg):
    """Configs of the losses that a model config names."""
    if isinstance(cfg, dict):
        if 'Loss' in str(cfg.get('type')):
            yield cfg
        cfg = cfg.values()
    if not isinstance(cfg, str) and hasattr(cfg, '__iter__'):
        for part in cfg:
            yield from losses_of(part)


SHIPPED = [
    cfg
    for path in sorted(Path(f'{REPO}/configs/_base_/models').glob('*.py'))
    for cfg in losses_of(Config.fromfile(path).model)
]


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='CrossEntropyLoss'),
        *{str(cfg): cfg for cfg in SHIPPED}.values(),
    ],
    ids=str,
)
def test_the_loss_of_no_labeled_pixel_is_zero(cfg):
    if 'class_weight' in cfg and mmseg.__version__ == '1.2.2':
        pytest.skip('its class_weight fails at ignored pixels')
    head = MODELS.build(
        dict(
            type='FCNHead',
            in_channels=4,
            channels=4,
            num_classes=len(cfg.get('class_weight', range(6))),
            num_convs=0,
            concat_input=False,
            loss_decode=cfg,
        )
    )
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.full((1, 8, 8), 255))
    )
    feature = torch.randn(2, 4, 8, 8, requires_grad=True)
    losses = head.loss((feature,), [sample, sample], {})
    loss = sum(v for name, v in losses.items() if 'loss' in name)
    loss.backward()
    assert loss == 0
    assert (feature.grad == 0).all()
    assert_finite(losses)


def test_batches_without_a_labeled_pixel_train_on(build):
    runner = build(iters=3, no_label=True, tvat=None)
    runner.train()
    first, *_, last = runner.diary.states
    assert_finite(last)
    for batch in runner.diary.batches[:3]:
        for sample in batch['labeled']['data_samples']:
            assert (sample.gt_sem_seg.data == 255).all()
    # the unlabeled half still teaches
    name = 'segmentor.decode_head.conv_seg.weight'
    assert not torch.equal(first[name], last[name])
    assert runner.message_hub.get_scalar('train/sup.decode.loss_ce').data[
        0
    ].tolist() == [0, 0, 0]


def test_lists_that_the_batch_does_not_divide(build):
    """5 labeled and 7 unlabeled images in batches of 2, two passes."""
    runner = build(iters=7)
    runner.train()
    assert_finite(now(runner))
    batches = runner.diary.batches[:7]
    for view, names, times in (
        ('labeled', LABELED, (2, 3)),
        ('weak', UNLABELED, (2, 2)),
    ):
        seen = [
            Path(sample.img_path).stem
            for batch in batches
            for sample in batch[view]['data_samples']
        ]
        assert len(seen) == 14
        assert {seen.count(name) for name in names} <= {*times}


RANKS = f"""
_base_ = '{SHAPES}'
custom_imports = dict(imports=['mmseg_psmt', 'rank_dump', 'faults'])
custom_hooks = [
    dict(type='TeacherEMAHook'), dict(type='CheckFiniteHook'),
    dict(type='RankDumpHook')]
model = dict(
    segmentor=dict(
        backbone=dict(base_channels=8),
        decode_head=dict(
            in_channels=64, c1_in_channels=8, channels=8, c1_channels=4)),
    data_preprocessor=dict(size=(32, 32)),
    consistency=dict(
        type='FaultyConfCELoss', at=[99], rank=1, thresholds=[1., 0.]),
    teachers=dict(init='independent'),
    warmup_iters=1,
    ramp_iters=0)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=5, val_interval=99)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=99))
"""


@pytest.fixture
def two_ranks(root):
    """Trains on two CPU ranks; what each said and its exit status."""
    (root / 'ranks.py').write_text(RANKS)

    def two_ranks(work_dir, at):
        ranks = processes.run_ranks(
            2,
            [
                f'{REPO}/tools/train.py',
                'ranks.py',
                '--work-dir',
                work_dir,
                '--cfg-options',
                f'model.consistency.at=[{at}]',
            ],
            cwd=root,
            env={
                **os.environ,
                'PSMT_DATA': str(root),
                'OMP_NUM_THREADS': '1',
                'PYTHONPATH': ':'.join(
                    [f'{REPO}:{REPO}/tests', os.environ.get('PYTHONPATH', '')]
                ),
            },
        )
        return [(rank.stdout, rank.returncode) for rank in ranks]

    return two_ranks


def test_two_ranks_stop_for_a_loss_of_one(two_ranks, tmp_path):
    for text, status in two_ranks(tmp_path, at=2):
        assert status == 1, text[-3000:]
        assert (
            'FloatingPointError: Iteration 3 is not finite: loss, '
            'unsup.loss (rank 1, labeled: '
        ) in text
        assert '(rank 0' not in text


def test_two_ranks_stay_alike(two_ranks, tmp_path):
    """Though one of them never has a confident pixel."""
    (text, status), (other, other_status) = two_ranks(tmp_path, at=99)
    assert (status, other_status) == (0, 0), (text + other)[-3000:]
    dumps = [torch.load(tmp_path / f'rank{i}.pth') for i in range(2)]
    assert_finite(dumps[0]['model'])
    assert_equal(dumps[0]['model'], dumps[1]['model'])
    steps = [
        json.loads(line)
        for line in next(tmp_path.glob('*/vis_data/scalars.json')).open()
    ]
    steps = [step for step in steps if 'loss' in step]
    assert [step.get('unsup.confident') for step in steps] == [
        None,
        0,
        0,
        0,
        0,
    ]
    assert [step.get('unsup.loss') for step in steps] == [None, 0, 0, 0, 0]
