"""Shipped configs of other networks: train, resume, test, export."""

import os
import runpy
import sys
import time
from functools import reduce
from pathlib import Path

import pytest
import torch
from fake_data import fake_shapes
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from mmseg_psmt.stack import allow_checkpoint_globals

REPO = Path(__file__).resolve().parents[1]
# Shipped config, and what makes its network small and free of downloads.
MIXTURES = {
    'pspnet_r50_voc_1-8': {
        'backbone.base_channels': 8,
        'decode_head.in_channels': 256,
        'decode_head.channels': 16,
        'auxiliary_head.in_channels': 128,
        'auxiliary_head.channels': 16,
    },
    'fcn_hr18_voc_1-8': {
        f'backbone.extra.stage{stage}.{key}': value
        for stage in (2, 3, 4)
        for key, value in dict(num_modules=1, num_blocks=(1,) * stage).items()
    },
    'segformer_mit-b0_voc_1-8': {
        'backbone.init_cfg': None,
        'decode_head.channels': 16,
    },
    'upernet_convnext-tiny_voc_1-8': {
        'backbone.arch': dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]),
        'backbone.init_cfg': None,
        'decode_head.in_channels': [8, 16, 24, 32],
        'decode_head.channels': 16,
        'auxiliary_head.in_channels': 24,
        'auxiliary_head.channels': 16,
    },
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Drawn images in the tree of VOC."""
    root = tmp_path_factory.mktemp('data')
    voc = root / 'VOCdevkit/VOC2012'
    fake_shapes(voc, 48, 4)
    (voc / 'SegmentationClassAug').symlink_to('SegmentationClass')
    return root


def small(name, data, work_dir, net, **options):
    """A shipped config that trains on the CPU in seconds."""
    os.environ['PSMT_DATA'] = str(data)
    try:
        cfg = Config.fromfile(REPO / f'configs/psmt/{name}.py')
    finally:
        del os.environ['PSMT_DATA']
    cfg.merge_from_dict(
        {
            'model.segmentor.pretrained': None,
            'model.data_preprocessor.size': (64, 64),
            'model.data_preprocessor.mask_padding': False,
            'model.warmup_iters': 4,
            'model.teachers.alternate_every': 3,
            'model.ramp_iters': 4,
            'model.consistency': dict(type='ConfCELoss', threshold=0.1),
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'train_cfg.val_interval': 100,
            'default_hooks.logger.interval': 5,
            'default_hooks.checkpoint.interval': 6,
            'default_hooks.checkpoint.max_keep_ckpts': 9,
            'work_dir': str(work_dir),
            'log_level': 'ERROR',
            'vis_backends': [dict(type='LocalVisBackend')],
            # or it writes where the first did
            'visualizer.name': str(work_dir),
            # of two that begin in the same second, one has the other's log
            'experiment_name': f'{name}{time.time_ns()}',
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
            **options,
        }
    )
    for key, value in net.items():
        *path, last = key.split('.')
        reduce(getattr, path, cfg.model.segmentor)[last] = value
    dataset = cfg.train_dataloader.dataset
    for step in (*dataset.labeled.pipeline, *dataset.unlabeled.pipeline):
        if step.type == 'RandomCrop':
            step.crop_size = (64, 64)
        if step.type == 'RandomResize':
            step.scale = (64, 64)
    return cfg


def saved(work_dir, iteration):
    return torch.load(work_dir / f'iter_{iteration}.pth', weights_only=False)[
        'state_dict'
    ]


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(
            name, marks=[pytest.mark.mmpretrain] if 'convnext' in name else []
        )
        for name in MIXTURES
    ],
)
def test_mixture_trains_resumes_tests_and_exports(
    name, data, tmp_path, monkeypatch
):
    # half of the time went into the layout of dumped configs
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    register_all_modules()
    Runner.from_cfg(
        small(
            name,
            data,
            tmp_path / 'a',
            MIXTURES[name],
            **{'train_cfg.max_iters': 12},
        )
    ).train()
    runner = Runner.from_cfg(
        small(
            name,
            data,
            tmp_path / 'a',
            MIXTURES[name],
            resume=True,
            **{'train_cfg.max_iters': 14},
        )
    )
    runner.train()
    assert runner.iter == 14
    first, last = (saved(tmp_path / 'a', i) for i in (6, 12))
    for net in ('segmentor', 'teachers.0', 'teachers.1'):
        assert any(
            not torch.equal(first[key], last[key])
            for key in last
            if key.startswith(net)
        ), net
    checkpoint = tmp_path / 'a/iter_14.pth'
    source = runner.model.eval()
    metrics = runner.test()
    assert 0 <= metrics['mIoU'] <= 100 and 'student/mIoU' in metrics

    images = torch.randn(1, 3, 64, 64)
    tool = runpy.run_path(str(REPO / 'tools/export.py'))['main']
    nets = dict(student=source.segmentor, teacher2=source.teachers[1])
    for which in ('student', 'teacher2', 'teachers'):
        out = tmp_path / f'{which}.pth'
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'export.py',
                str(checkpoint),
                str(out),
                '--which',
                which,
                '--no-test',
            ],
        )
        allow_checkpoint_globals()  # a load by mmengine takes some back
        tool()
        init_default_scope('mmseg')
        plain = init_model(str(out.with_suffix('.py')), str(out), device='cpu')
        assert type(plain).__name__ == 'EncoderDecoder'
        with torch.no_grad():
            logits = plain.encode_decode(images, [dict(img_shape=(64, 64))])
        if which in nets:
            with torch.no_grad():
                expected = nets[which].encode_decode(
                    images, [dict(img_shape=(64, 64))]
                )
            assert torch.equal(logits, expected)
        else:
            for key, value in plain.state_dict().items():
                one, two = (last_of(source, i, key) for i in (0, 1))
                wanted = (one + two) / 2 if value.is_floating_point() else one
                torch.testing.assert_close(value, wanted)
    image = data / 'VOCdevkit/VOC2012/JPEGImages/val_00000.jpg'
    assert inference_model(plain, str(image)).pred_sem_seg.shape == (64, 64)


def last_of(model, teacher, key):
    return model.teachers[teacher].state_dict()[key]


@pytest.mark.parametrize('independent', [False, True])
def test_layer_decay_is_that_of_the_plain_network(independent):
    register_all_modules()
    segmentor = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(
            type='BEiT',
            img_size=(32, 32),
            embed_dims=8,
            num_layers=2,
            num_heads=2,
            mlp_ratio=2,
            out_indices=(0, 1),
        ),
        decode_head=dict(
            type='FCNHead',
            in_channels=8,
            in_index=1,
            channels=4,
            num_classes=3,
        ),
    )
    model = MODELS.build(
        dict(
            type='PSMT',
            segmentor=segmentor,
            teachers=dict(init='independent' if independent else 'copy'),
            warmup_iters=int(independent),
        )
    )

    def rates(net, constructor):
        optim_wrapper = build_optim_wrapper(
            net,
            dict(
                type='OptimWrapper',
                constructor=constructor,
                optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
                paramwise_cfg=dict(
                    decay_rate=0.5, decay_type='layer_wise', num_layers=2
                ),
            ),
        )
        return {
            id(param): (group['lr'], group['weight_decay'])
            for group in optim_wrapper.optimizer.param_groups
            for param in group['params']
        }

    nets = [model.segmentor, *(model.teachers if independent else ())]
    expected = {}
    for net in nets:
        expected.update(rates(net, 'LearningRateDecayOptimizerConstructor'))
    assert len({lr for lr, _ in expected.values()}) > 2
    assert len(expected) == sum(1 for net in nets for _ in net.parameters())
    assert rates(model, 'PSMTLayerDecayOptimizerConstructor') == expected
