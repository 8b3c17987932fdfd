"""From a config of mmseg to PS-MT, by tools/init.py."""

import io
import os
import runpy
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmseg.registry import (
    DATASETS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    TRANSFORMS,
)
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
OLD = """
default_scope = 'mmseg'
crop_size = (32, 48)
images = dict(
    type='BaseSegDataset',
    data_root='data',
    metainfo=dict(classes=('background', 'disc'),
                  palette=[[0, 0, 0], [128, 0, 0]]))
norm = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3,
        bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=crop_size),
    backbone=dict(type='ResNetV1c', depth=18, base_channels=4, norm_cfg=norm),
    decode_head=dict(
        type='FCNHead', in_channels=32, in_index=3, channels=8, num_convs=1,
        concat_input=False, num_classes=2, norm_cfg=norm,
        loss_decode=dict(type='CrossEntropyLoss')),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(96, 48), ratio_range=(0.5, 2.0),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **images, data_prefix=dict(img_path='images', seg_map_path='masks'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images, data_prefix=dict(img_path='val', seg_map_path='val_masks'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.1))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=40, by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=20,
                    save_best='mIoU'),
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False))
log_processor = dict(by_epoch=False)
"""
PURE = """
from mmcv.transforms import LoadImageFromFile, RandomFlip
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import LinearLR, OptimWrapper, PolyLR
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import (LoadAnnotations, PackSegInputs,
                                       PhotoMetricDistortion, RandomCrop)
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder
from mmseg.models.backbones import ResNetV1c
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from torch.optim import SGD

norm = dict(type='BN', requires_grad=True)
model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(
        type=SegDataPreProcessor, mean=[120.] * 3, std=[60.] * 3,
        bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=(32, 48)),
    backbone=dict(type=ResNetV1c, depth=18, base_channels=4, norm_cfg=norm),
    decode_head=dict(
        type=FCNHead, in_channels=32, in_index=3, channels=8, num_convs=1,
        concat_input=False, num_classes=2, norm_cfg=norm,
        loss_decode=dict(type=CrossEntropyLoss)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
images = dict(
    type=BaseSegDataset, data_root='data',
    metainfo=dict(classes=('background', 'disc'),
                  palette=[[0, 0, 0], [128, 0, 0]]))
load = [dict(type=LoadImageFromFile), dict(type=LoadAnnotations)]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        **images, data_prefix=dict(img_path='images', seg_map_path='masks'),
        pipeline=[
            *load, dict(type=RandomCrop, crop_size=(32, 48)),
            dict(type=RandomFlip, prob=0.5), dict(type=PhotoMetricDistortion),
            dict(type=PackSegInputs)]))
val_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        **images, data_prefix=dict(img_path='val', seg_map_path='val_masks'),
        pipeline=[*load, dict(type=PackSegInputs)]))
test_dataloader = val_dataloader
val_evaluator = dict(type=IoUMetric, iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=.1))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, begin=0, end=3, by_epoch=False),
    dict(type=PolyLR, power=0.9, begin=1, end=20)]
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=20, val_interval=5)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=1),
    checkpoint=dict(type=CheckpointHook, interval=10))
"""


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """5 labeled and 2 validation images with masks, 6 photos."""
    root = tmp_path_factory.mktemp('drawn')
    rng = np.random.default_rng(0)
    for folder, masks, count in (
        ('data/images', 'data/masks', 5),
        ('data/val', 'data/val_masks', 2),
        ('photos', None, 6),
    ):
        (root / folder).mkdir(parents=True)
        if masks:
            (root / masks).mkdir()
        for i in range(count):
            image = rng.integers(0, 256, (60, 70 + i, 3), np.uint8)
            ids = np.zeros(image.shape[:2], np.uint8)
            ids[10:40, 10 + i : 40] = 1
            image[ids == 1] //= 4
            Image.fromarray(image).save(root / folder / f'{i}.jpg')
            if masks:
                Image.fromarray(ids).save(root / masks / f'{i}.png')
    return root


@pytest.fixture
def project(drawn, tmp_path, monkeypatch):
    """A folder with the images and the two configs, to work in."""
    for name in ('data', 'photos'):
        (tmp_path / name).symlink_to(drawn / name)
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / 'old.py').write_text(OLD)
    (tmp_path / 'pure.py').write_text(PURE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, check=True):
    """Exit status and words of the tool, run in this process."""
    said, tool = io.StringIO(), Path('tools/init.py')
    with (
        redirect_stdout(said),
        redirect_stderr(said),
        mock.patch.dict(os.environ),
    ):
        main = runpy.run_path(str(tool))['main']
        own = {} if check else dict(check=lambda path, gpus: 0)
        with (
            mock.patch.object(sys, 'argv', [str(tool), *map(str, words)]),
            mock.patch.dict(main.__globals__, own),
        ):
            try:
                main()
            except SystemExit as error:
                if isinstance(error.code, int):
                    return error.code, said.getvalue()
                return 1, f'{said.getvalue()}{error.code}'
    raise AssertionError('the tool ends with an exit code')


def converted(text='', *words, base='old', check=False):
    """What the tool makes of a config that differs so from another one.

    Returns:
        tuple: The PS-MT config, its twin, the config, and what was said.
    """
    if base == 'old':
        Path('mine.py').write_text(f"_base_ = 'old.py'\n{text}")
    else:
        Path('mine.py').write_text(f'{PURE}\n{text}')
    status, said = run(
        'mine.py',
        '--unlabeled',
        'photos',
        '--out',
        'semi.py',
        *words,
        check=check,
    )
    assert status == 0, said
    return (
        *(
            Config.fromfile(f'{name}.py')
            for name in ('semi', 'semi_supervised', 'mine')
        ),
        said,
    )


def plain(cfg):
    """A config without types that are classes."""
    return {
        key: value
        for key, value in cfg.to_dict().items()
        if not key.startswith('__')
    }


def kinds(pipeline):
    return [
        step['type']
        if isinstance(step['type'], str)
        else step['type'].__name__
        for step in pipeline
    ]


def built(cfg):
    """Model and pairs of a config; a pair is drawn."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    views = dataset[0, 0, (0, 0)]
    assert {*views} == {'labeled', 'weak', 'strong'}
    return MODELS.build(cfg.model), dataset


def trained(cfg, iters=2):
    """A runner after some iterations."""
    cfg = Config(plain(cfg))  # without classes, as it is dumped
    cfg.merge_from_dict(
        {
            'train_cfg.max_iters': iters,
            'train_cfg.val_interval': iters,
            'work_dir': 'run',
            'log_level': 'ERROR',
            'experiment_name': f'run{time.time_ns()}',
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == iters
    return runner


def test_a_config_with_base_files(project):
    semi, twin, mine, said = converted(check=True)
    assert said.splitlines()[-6:] == [
        'fit',
        '',
        'Train both, and compare them:',
        'python tools/train.py semi_supervised.py',
        'python tools/train.py semi.py',
        'python tools/analysis_tools/results.py --validation '
        'work_dirs/semi_supervised work_dirs/semi',
    ]
    assert plain(twin) == plain(mine)
    assert semi.model.type == 'PSMT' and semi.model.segmentor == mine.model
    data = semi.train_dataloader.dataset
    assert data.labeled == mine.train_dataloader.dataset
    assert data.unlabeled.type == 'UnlabeledFolder'
    assert data.unlabeled.images == 'photos'
    assert data.unlabeled.pipeline[:-1] == [
        dict(type='LoadImageFromFile'),
        dict(
            type='RandomResize',
            scale=(96, 48),
            ratio_range=(0.5, 2.0),
            keep_ratio=True,
        ),
        dict(type='RandomCrop', crop_size=(32, 48)),
        dict(type='RandomFlip', prob=0.5),
    ]
    psmt = Config.fromfile(REPO / 'configs/_base_/psmt.py').psmt
    assert data.unlabeled.pipeline[-1] == psmt.unlabeled_views
    assert semi.train_dataloader.sampler == dict(type='PairSampler')
    assert semi.custom_hooks == psmt.hooks
    assert semi.default_hooks.checkpoint == dict(
        mine.default_hooks.checkpoint, type='ReliableCheckpointHook'
    )
    assert (
        semi.val_evaluator
        == semi.test_evaluator
        == dict(
            type='TeacherStudentIoUMetric', iou_metrics=['mIoU', 'mFscore']
        )
    )
    for key in ('train_cfg', 'param_scheduler', 'optim_wrapper'):
        assert semi[key] == mine[key]
    text = Path('semi.py').read_text()
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) < 80
    assert 'LoadAnnotations, cat_max_ratio of RandomCrop' in ' '.join(
        line.lstrip('# ') for line in text.splitlines()
    )


@pytest.mark.parametrize('base', ['old', 'pure'])
def test_what_is_written_trains(project, base, monkeypatch):
    """With several losses, an auxiliary head and accumulated gradients."""
    # half of the time went into the layout of dumped configs
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    loss = """[dict(type={0}, loss_name='loss_ce'),
        dict(type={0}, loss_name='loss_2', loss_weight=0.4)]"""
    loss = loss.format(
        "'CrossEntropyLoss'" if base == 'old' else 'CrossEntropyLoss'
    )
    if base == 'old':
        text = f"""
head = dict(_base_.model.decode_head, in_channels=16, in_index=2)
model = dict(decode_head=dict(loss_decode={loss}), auxiliary_head=head)
optim_wrapper = dict(accumulative_counts=2)"""
    else:
        text = f"""
model['decode_head']['loss_decode'] = {loss}
model['auxiliary_head'] = dict(
    model['decode_head'], in_channels=16, in_index=2)
optim_wrapper['accumulative_counts'] = 2"""
    semi, twin, mine, _ = converted(text, base=base)
    runner = trained(semi)
    assert len(runner.model.teachers) == 2
    last = runner.message_hub.log_scalars
    for name in ('ce', '2'):
        assert f'train/sup.decode.loss_{name}' in last
    assert 'train/sup.aux.loss_ce' in last and 'val/student/mIoU' in last
    assert DATASETS.build(twin.train_dataloader.dataset)[0]['inputs'].shape
    MODELS.build(twin.model)


def test_a_config_in_pure_python(project):
    semi, twin, mine, said = converted(base='pure', check=True)
    assert 'pure' not in said and '\nfit\n' in said
    for cfg in (semi, twin):
        # 5 images make 3 batches of 2
        assert cfg.train_cfg == dict(
            type='IterBasedTrainLoop', max_iters=60, val_interval=15
        )
        one, two = plain(cfg)['param_scheduler']
        assert one == plain(mine)['param_scheduler'][0]
        assert {**two, 'type': ''} == dict(
            type='', power=0.9, begin=3, end=60, by_epoch=False
        )
        hooks = cfg.default_hooks
        assert (hooks.checkpoint.by_epoch, hooks.checkpoint.interval) == (
            False,
            30,
        )
        assert hooks.logger.log_metric_by_epoch is False
        assert hooks.logger.interval == 1
        assert cfg.log_processor.by_epoch is False
    words = '20 epochs of 3 iterations (5 images in batches of 2) became 60'
    assert words in said
    assert words in Path('semi_supervised.py').read_text()
    assert twin.train_dataloader.sampler.type == 'InfiniteSampler'
    assert twin.train_dataloader.dataset == mine.train_dataloader.dataset
    assert twin.model == mine.model
    data = semi.train_dataloader.dataset
    assert data.labeled == mine.train_dataloader.dataset
    assert kinds(data.unlabeled.pipeline) == [
        'LoadImageFromFile',
        'RandomCrop',
        'RandomFlip',
        'MultiView',
    ]
    assert semi.model.segmentor == mine.model
    assert semi.val_evaluator == dict(
        type='TeacherStudentIoUMetric', iou_metrics=['mIoU']
    )
    assert semi.default_hooks.checkpoint.type == 'ReliableCheckpointHook'


def test_pure_python_imports_what_has_a_python_name(project):
    Path('my-config.py').write_text(PURE)
    status, said = run('my-config.py', '--unlabeled', 'photos')
    assert status == 1 and "'my-config' is not a Python name" in said
    assert 'rename' in said and not [*Path().glob('my-config_*')]
    Path('my-config.py').rename('my_config.py')
    status, said = run('my_config.py', '--unlabeled', 'photos', check=False)
    assert status == 0
    one = plain(Config.fromfile('my_config_psmt.py'))
    # a checkout whose folder cannot be imported from
    Path('ps-mt').mkdir()
    Path('ps-mt/tools').symlink_to(REPO / 'tools')
    Path('ps-mt/configs').symlink_to(REPO / 'configs')
    Path('tools').unlink()
    Path('configs').unlink()
    Path('tools').symlink_to('ps-mt/tools')
    with mock.patch(
        'os.path.abspath',
        lambda path, real=os.path.abspath: real(
            f'ps-mt/{path}' if path == 'tools/init.py' else path
        ),
    ):
        status, said = run(
            'my_config.py', '--unlabeled', 'photos', '--force', check=False
        )
    assert status == 0, said
    assert 'psmt = dict(' in Path('my_config_psmt.py').read_text()
    assert plain(Config.fromfile('my_config_psmt.py')) == one


EPOCHS = """
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=10, val_begin=2)
default_hooks = dict(checkpoint=dict(
    _delete_=True, type='CheckpointHook', interval=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=.1, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[4, 8], gamma=.1),
    dict(type='StepLR', step_size=3), dict(type='CosineAnnealingLR', T_max=9),
    dict(type='ExponentialLR', gamma=.5),
    dict(type='ReduceOnPlateauLR', monitor='mIoU'),
    dict(type='PolyLR', by_epoch=False, end=7)]
custom_hooks = [dict(type='EMAHook', begin_epoch=3)]
"""


def test_every_length_in_epochs_becomes_iterations(project):
    semi, twin, _, said = converted(EPOCHS)
    assert twin.train_cfg == dict(  # 3 iterations each
        type='IterBasedTrainLoop', max_iters=30, val_begin=6, val_interval=3
    )
    linear, multi, step, cosine, exponential, plateau, poly = (
        twin.param_scheduler
    )
    assert linear == dict(
        type='LinearLR', start_factor=0.1, end=3, by_epoch=False
    )
    assert multi.milestones == [12, 24] and step.step_size == 9
    assert cosine.T_max == 27
    assert exponential.gamma**3 == pytest.approx(0.5)
    assert plateau == dict(type='ReduceOnPlateauLR', monitor='mIoU', end=10)
    assert poly == dict(type='PolyLR', by_epoch=False, end=7)
    assert not any(
        each.by_epoch for each in twin.param_scheduler if each is not plateau
    )
    assert twin.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=6, by_epoch=False
    )
    assert 'begin_epoch of EMAHook' in said
    assert semi.custom_hooks[0] == dict(type='EMAHook', begin_epoch=3)
    assert len(semi.custom_hooks) > 1


@pytest.mark.parametrize(
    'text, words, iters',
    [
        ('', ['--gpus', 2], 20),  # 2 batches of 4
        ('train_dataloader = dict(drop_last=True)', [], 20),
        (
            """train_dataloader = dict(dataset=dict(
        _delete_=True, type='RepeatDataset', times=4,
        dataset=_base_.train_dataloader.dataset))""",
            [],
            100,
        ),
        ('', ['--max-iters', 50], 50),
    ],
)
def test_the_length_of_an_epoch(project, text, words, iters):
    semi, twin, _, said = converted(EPOCHS + text, *words)
    assert twin.train_cfg.max_iters == semi.train_cfg.max_iters == iters
    assert f'{iters} iterations' in said
    if words[:1] == ['--gpus']:
        assert 'tools/dist_train.sh semi.py 2\n' in said
    assert twin.train_cfg.val_interval == iters / 10


def test_no_checkpoint_but_the_best_and_the_last(project):
    hook = dict(type='CheckpointHook', interval=-1, save_best='mIoU')
    _, twin, *_ = converted(
        EPOCHS + f'default_hooks.update(checkpoint={hook})'
    )
    assert twin.default_hooks.checkpoint == dict(hook, by_epoch=False)


def test_another_length_scales_the_schedule(project):
    semi, twin, _, said = converted('', '--max-iters', 20)
    for cfg in (semi, twin):
        assert cfg.train_cfg == dict(
            type='IterBasedTrainLoop', max_iters=20, val_interval=5
        )
        assert cfg.param_scheduler[0].end == 20
        assert cfg.default_hooks.checkpoint.interval == 10
    assert '40 iterations became 20.' in said


def test_checkpoints_that_would_never_be_written(project):
    _, twin, _, said = converted(
        'default_hooks = dict(checkpoint=dict(_delete_=True, '
        "type='CheckpointHook', interval=1))"
    )
    assert twin.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=10, by_epoch=False
    )
    assert 'one at each validation' in said


def test_repeated_and_joined_data_sets(project):
    semi, _, mine, said = converted("""
part = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(
    _delete_=True, type='RepeatDataset', times=9, dataset=dict(
        type='ConcatDataset', datasets=[part, dict(part, pipeline=[
            *part.pipeline[:2], dict(type='Pad', size=(90, 70)),
            *part.pipeline[3:]])])))""")
    joined = mine.train_dataloader.dataset.dataset
    labeled = semi.train_dataloader.dataset.labeled
    assert labeled.type == 'ConcatDataset'
    assert labeled.datasets[0] == joined.datasets[0]
    assert labeled.datasets[1].pop('pipeline') == [
        step
        for step in joined.datasets[1].pop('pipeline')
        if step.type != 'Pad'
    ]
    assert labeled.datasets[1] == joined.datasets[1]
    assert 'the photos have the first' in said
    semi = Config.fromfile('semi.py')
    assert len(built(semi)[1].labeled) == 10


@pytest.mark.parametrize(
    'pad, own, size',
    [
        ('size=(48, 32)', None, (32, 48)),
        ('size_divisor=40', None, (40, 80)),
        ('size=(48, 32)', 16, (32, 48)),
        ('size=(48, 32)', 20, (40, 60)),
    ],
)
def test_the_data_preprocessor_pads(project, pad, own, size):
    """In place of Pad, which is taken out of the labeled images too."""
    semi, twin, mine, said = converted(f"""
steps = _base_.train_pipeline
model = dict(data_preprocessor=dict(size=None, size_divisor={own}))
train_dataloader = dict(dataset=dict(pipeline=[
    *steps[:-1], dict(type='Pad', {pad}), steps[-1]]))""")
    assert plain(twin) == plain(mine)
    data = semi.train_dataloader.dataset
    assert kinds(data.labeled.pipeline) == kinds(
        mine.train_dataloader.dataset.pipeline[:-2]
    ) + ['PackSegInputs']
    assert 'Pad' not in kinds(data.unlabeled.pipeline)
    assert semi.model.data_preprocessor.size == size
    assert 'in place of Pad' in said
    model, _ = built(semi)
    assert tuple(model.data_preprocessor.size) == size
    assert model.data_preprocessor.size_divisor is None
    assert model.data_preprocessor.mean.flatten().tolist() == [120] * 3


@TRANSFORMS.register_module()
class Turn(BaseTransform):
    """Moves pixels, and knows no masks by name."""

    def transform(self, results):
        if np.random.rand() < 0.3:
            for key in ('img', *results['seg_fields']):
                results[key] = np.rot90(results[key], 2).copy()
        return results


@TRANSFORMS.register_module()
class Stretch(BaseTransform):
    """Treats every image alike."""

    def transform(self, results):
        results['img'] = (results['img'] // 2).astype(np.uint8)
        results['stretched'] = True
        return results


@TRANSFORMS.register_module()
class Dim(BaseTransform):
    """Changes colors at random, after a transform that it needs."""

    def transform(self, results):
        assert results['stretched']
        results['img'] = results['img'] // np.random.randint(1, 4)
        return results


@TRANSFORMS.register_module()
class Weigh(BaseTransform):
    """Needs a mask."""

    def transform(self, results):
        results['weight'] = results['gt_seg_map'].mean()
        return results


def test_transforms_are_known_by_what_they_do(project):
    semi, _, _, said = converted("""
steps = _base_.train_pipeline
own = [dict(type=kind) for kind in ('Turn', 'Stretch', 'Dim', 'Weigh')]
train_dataloader = dict(dataset=dict(pipeline=[
    *steps[:3], *own, dict(type='RandomRotate', prob=.2, degree=10),
    dict(type='RandomApply', prob=.5, transforms=[
        dict(type='RandomCutOut', prob=1., n_holes=1, cutout_shape=(4, 4),
             seg_fill_in=255)]),
    dict(type='RandomChoice', transforms=[
        [dict(type='RandomFlip', prob=1.)], []]),
    dict(type='GenerateEdge'), *steps[3:]]))""")
    assert kinds(semi.train_dataloader.dataset.unlabeled.pipeline) == [
        'LoadImageFromFile',
        'RandomResize',
        'Turn',
        'Stretch',
        'RandomRotate',
        'RandomChoice',
        'RandomCrop',
        'RandomFlip',
        'MultiView',
    ]
    assert (
        'no masks: LoadAnnotations, Weigh, GenerateEdge, '
        'cat_max_ratio of RandomCrop.'
    ) in said
    assert 'the place of Dim, RandomApply, PhotoMetricDistortion.' in said
    built(semi)


def test_a_data_set_that_mixes_images(project):
    semi, _, mine, said = converted(
        """
part, steps = _base_.train_dataloader.dataset, _base_.train_pipeline
train_dataloader = dict(dataset=dict(
    _delete_=True, type='MultiImageMixDataset',
    dataset=dict(part, pipeline=steps[:2]), pipeline=[
        dict(type='RandomMosaic', prob=1., img_scale=(60, 70)), *steps[2:]]))
""",
        check=True,
    )
    assert kinds(semi.train_dataloader.dataset.unlabeled.pipeline) == [
        'LoadImageFromFile',
        'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'MultiView',
    ]
    assert 'RandomMosaic' in said and '\nfit\n' in said
    assert semi.train_dataloader.dataset.labeled == (
        mine.train_dataloader.dataset
    )


def test_images_without_a_common_size(project):
    free = """
steps = [step for step in _base_.train_pipeline if step.type != 'RandomCrop']
train_dataloader = dict(dataset=dict(pipeline=steps))
model = dict(data_preprocessor=dict(size={}))
"""
    Path('mine.py').write_text("_base_ = 'old.py'" + free.format(None))
    status, said = run('mine.py', '--unlabeled', 'photos')
    assert status == 1 and 'give --crop HEIGHT WIDTH' in said
    semi, twin, _, said = converted(free.format(None), '--crop', 24, 32)
    crop = dict(type='RandomCrop', crop_size=(24, 32))
    data = semi.train_dataloader.dataset
    for pipeline in (
        data.unlabeled.pipeline,
        data.labeled.pipeline,
        twin.train_dataloader.dataset.pipeline,
    ):
        assert pipeline[-2] == crop
    assert twin.model.data_preprocessor.size == (24, 32)
    assert 'cropped to 24 x 32' in said
    dataset = built(semi)[1]
    assert all(
        view['inputs'].shape == (3, 24, 32)
        for view in dataset[0, 0, (0, 0)].values()
    )
    # the size that labeled images are padded to
    semi, twin, mine, _ = converted(free.format((80, 96)), '--force')
    assert semi.train_dataloader.dataset.unlabeled.pipeline[-2] == dict(
        type='RandomCrop', crop_size=(80, 96)
    )
    assert plain(twin) == plain(mine)
    # a size that the pipeline makes
    semi, *_ = converted(
        """
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(48, 32)), dict(type='PackSegInputs')]))
""",
        '--force',
    )
    assert kinds(semi.train_dataloader.dataset.unlabeled.pipeline) == [
        'LoadImageFromFile',
        'Resize',
        'MultiView',
    ]
    status, said = run('old.py', '--unlabeled', 'photos', '--crop', 9, 9)
    assert status == 1 and '32 x 48 already' in said
    # the size of Pad, which takes the place of a crop
    semi, *_ = converted(
        """
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(40, 40), keep_ratio=True),
    dict(type='Pad', size=(48, 40)), dict(type='PackSegInputs')]))
model = dict(data_preprocessor=dict(size=None))
""",
        '--force',
        check=True,
    )
    assert semi.model.data_preprocessor.size == (40, 48)


def test_images_that_are_not_8_bit_color(project):
    semi, *_, said = converted(
        """
load = dict(type='LoadImageFromFile', color_type='grayscale')
crop = dict(type='RandomCrop', crop_size=(32, 48))
train_dataloader = dict(dataset=dict(pipeline=[
    load, dict(type='LoadAnnotations'), crop, dict(type='PackSegInputs')]))
val_dataloader = dict(dataset=dict(pipeline=[
    load, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
model = dict(
    data_preprocessor=dict(mean=[120.], std=[60.], bgr_to_rgb=False),
    backbone=dict(in_channels=1))
""",
        check=True,
    )
    assert '\nfit\n' in said and 'neither saturation nor hue' in said
    views = semi.train_dataloader.dataset.unlabeled.pipeline[-1]
    assert kinds(views.strong) == [
        'ColorJitter',
        'RandomGaussianBlur',
        'PackSegInputs',
    ]
    assert built(semi)[1][0, 0, (0, 0)]['strong']['inputs'].shape[0] == 1


def test_images_that_a_transform_makes_floats(project):
    semi, *_, said = converted(
        """
steps = [x for x in _base_.train_pipeline if 'Photo' not in x.type]
steps.insert(2, dict(type='Rerange', min_value=0, max_value=255))
train_dataloader = dict(dataset=dict(pipeline=steps))
""",
        check=True,
    )
    assert '\nfit\n' in said and 'neither saturation nor hue' in said
    assert 'Rerange' in kinds(semi.train_dataloader.dataset.unlabeled.pipeline)


def test_what_is_no_file_is_refused_with_what_to_do(project):
    status, said = run('mmseg::unet/unet.py', '--unlabeled', 'photos')
    assert status == 1
    assert "_base_ = 'mmseg::unet/unet.py'" in said
    Path('far.py').write_text(
        "custom_imports = dict(imports=['json', 'far_away'])\n"
    )
    Path('far_away.py').write_text('import nowhere.at_all')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend('.')
        status, said = run('far.py', '--unlabeled', 'photos')
    assert status == 1
    assert "No module named 'nowhere'" in said and 'sys.path' not in said


def test_own_imports_hooks_and_folders_stay(project):
    semi, twin, mine, _ = converted("""
custom_imports = dict(imports='json', allow_failed_imports=True)
custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU')]
work_dir = 'runs/mine'
load_from = 'net.pth'
photos = 3
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')""")
    assert semi.custom_imports == dict(
        imports=['json', 'mmseg_psmt'], allow_failed_imports=True
    )
    psmt = Config.fromfile(REPO / 'configs/_base_/psmt.py').psmt
    assert semi.custom_hooks == [*mine.custom_hooks, *psmt.hooks]
    assert (semi.work_dir, twin.work_dir) == (
        'runs/semi',
        'runs/semi_supervised',
    )
    assert semi.load_from == twin.load_from == 'net.pth'
    assert semi.photos == 3 and semi.optim_wrapper == mine.optim_wrapper
    built(semi)


@pytest.mark.parametrize('own', [False, True])
def test_layer_decay_finds_the_student(project, own):
    kind = 'OwnDecay' if own else 'LearningRateDecayOptimizerConstructor'
    semi, twin, *_, said = converted(f"""
optim_wrapper = dict(constructor='{kind}', paramwise_cfg=dict(
    decay_rate=0.9, decay_type='stage_wise', num_layers=6))""")
    assert semi.optim_wrapper.constructor == (
        'OwnDecay' if own else 'PSMTLayerDecayOptimizerConstructor'
    )
    assert semi.optim_wrapper.paramwise_cfg.num_layers == 6
    assert twin.optim_wrapper.constructor == kind
    assert ('derive it from PSMTLayer' in said) == own


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OwnDecay(LearningRateDecayOptimizerConstructor):
    """One of a user."""


def test_evaluators(project):
    semi, twin, _, said = converted("""
val_evaluator = [dict(type='CityscapesMetric', output_dir='x'),
                 dict(type='IoUMetric', iou_metrics=['mDice'])]
test_evaluator = dict(
    _delete_=True, type='CityscapesMetric', output_dir='x')""")
    metrics = ['mDice', 'mIoU']  # by the latter both are compared
    assert semi.val_evaluator == [
        dict(type='CityscapesMetric', output_dir='x'),
        dict(type='TeacherStudentIoUMetric', iou_metrics=metrics),
    ]
    assert twin.val_evaluator[1] == dict(type='IoUMetric', iou_metrics=metrics)
    assert 'val_evaluator measures mIoU, too' in said
    assert semi.test_evaluator == dict(type='CityscapesMetric', output_dir='x')
    for base in 'old', 'pure':
        text = "val_evaluator.update(iou_metrics=['mFscore'])"
        if base == 'old':
            text = "val_evaluator = dict(iou_metrics=['mFscore'])"
        semi, twin, *_ = converted(text, '--force', base=base)
        for cfg in semi, twin:
            assert cfg.val_evaluator.iou_metrics == ['mFscore', 'mIoU']
    semi, *_, said = converted(
        'val_dataloader = val_evaluator = val_cfg = None',
        '--force',
        check=True,
    )
    assert semi.val_evaluator is None and 'results.py' not in said
    assert 'no val_dataloader' in said and '\nfit\n' in said


def test_another_sampler_is_named(project):
    semi, *_, said = converted("""
train_dataloader = dict(sampler=dict(_delete_=True, type='MySampler', x=1))
""")
    assert semi.train_dataloader.sampler == dict(type='PairSampler')
    assert 'takes the place of your sampler' in said


@pytest.mark.parametrize(
    'photos, images',
    [
        (['photos/'], 'photos'),
        (['photos/*.jpg'], 'photos/*.jpg'),
        (['list.txt'], 'list.txt'),
        (['photos/0.jpg', './photos'], ['photos/0.jpg', 'photos']),
    ],
)
def test_photos_are_given_in_many_ways(project, photos, images):
    Path('list.txt').write_text('photos/1.jpg\nphotos/2.jpg\n')
    assert run('old.py', '--unlabeled', *photos, check=False)[0] == 0
    cfg = Config.fromfile('old_psmt.py')
    assert cfg.train_dataloader.dataset.unlabeled.images == images
    built(cfg)


def test_bases_are_found_from_everywhere(project, tmp_path_factory):
    far = tmp_path_factory.mktemp('far')
    Path('link').symlink_to(far)
    for out in ('sub/er/semi.py', far / 'semi.py', 'link/other.py'):
        status, said = run(
            'old.py', '--unlabeled', 'photos', '--out', out, check=False
        )
        assert status == 0, said
        assert Config.fromfile(out).model.type == 'PSMT'
        assert f'python tools/train.py {out}\n' in said
    assert (
        "['../../old.py', '../../configs/_base_/psmt.py']"
        in Path('sub/er/semi.py').read_text()
    )


def test_nothing_is_overwritten_unasked(project):
    Path('semi_supervised.py').write_text('mine = 1')
    words = 'old.py', '--unlabeled', 'photos', '--out', 'semi.py'
    status, said = run(*words)
    assert status == 1 and 'semi_supervised.py exists' in said
    assert '--force' in said and not Path('semi.py').exists()
    assert Path('semi_supervised.py').read_text() == 'mine = 1'
    assert run(*words, '--force', check=False)[0] == 0
    assert 'mine' not in Config.fromfile('semi_supervised.py')
    shutil.copy('old.py', 'a_supervised.py')
    for config, out in (('old.py', 'old.py'), ('a_supervised.py', 'a.py')):
        status, said = run(
            config, '--unlabeled', 'photos', '--out', out, '--force'
        )
        assert status == 1 and 'is the config itself' in said
    assert Path('old.py').read_text() == OLD


@pytest.mark.parametrize(
    'text, words, named',
    [
        (None, [], 'gone.py cannot be read'),
        ('model = None', [], 'has no model'),
        ("model = dict(_delete_=True, type='SegTTAModel')", [], 'SegTTAModel'),
        (
            "model = dict(decode_head=dict(type='Mask2FormerHead'))",
            [],
            'PSMT cannot train Mask2FormerHead',
        ),
        ('train_cfg = dict(type="MyLoop")', [], 'cannot be told'),
        (
            EPOCHS
            + "train_dataloader = dict(dataset=dict(ann_file='gone.txt'))",
            [],
            'give --max-iters',
        ),
        ('', ['--unlabeled', 'gone'], 'gone holds no image'),
        ('', ['--out', 'semi.txt'], '--out must end in .py'),
        ('', ['--gpus', '0'], '--gpus must be at least 1'),
    ],
)
def test_what_cannot_be_converted_is_said(project, text, words, named):
    if text is not None:
        Path('mine.py').write_text(f"_base_ = 'old.py'\n{text}")
    status, said = run(
        'gone.py' if text is None else 'mine.py',
        '--unlabeled',
        'photos',
        *words,
    )
    assert status != 0 and named in said
    assert 'Traceback' not in said and not [*Path().glob('*_psmt*')]


def test_the_remedy_for_an_unknown_epoch(project):
    semi, *_ = converted(
        EPOCHS + "train_dataloader = dict(dataset=dict(ann_file='gone.txt'))",
        '--max-iters',
        30,
    )
    assert semi.train_cfg.max_iters == 30


def test_ps_mt_already(project):
    converted()
    status, said = run('semi.py', '--unlabeled', 'photos')
    assert status == 1 and 'PS-MT config already' in said


def test_the_supervised_twin_of_another_ps_mt_config(project):
    """It inherits psmt.py already, which no config can do twice."""
    semi, *_ = converted()
    Path('again.py').write_text(
        "_base_ = ['old.py', 'configs/_base_/psmt.py']"
    )
    status, said = run('again.py', '--unlabeled', 'photos', check=False)
    assert status == 0, said
    again = Config.fromfile('again_psmt.py')
    assert again.model == semi.model
    assert again.train_dataloader == semi.train_dataloader


def test_data_that_are_not_fit(project):
    Path('mine.py').write_text(
        "_base_ = 'old.py'\nmodel = dict(decode_head=dict(num_classes=3))"
    )
    status, said = run('mine.py', '--unlabeled', 'photos')
    assert status == 1 and 'num_classes is 3' in said
    assert 'Fix this until tools/check_data.py mine_psmt.py' in said
    assert 'python tools/train.py mine_psmt.py' in said
