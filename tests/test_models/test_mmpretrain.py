"""Backbones of mmpretrain in a segmentor of mmseg."""

import pytest
from mmengine import Config
from mmengine.utils.dl_utils import collect_env
from mmseg.registry import MODELS
from test_psmt import batch, total

pytestmark = pytest.mark.mmpretrain
CONVNEXT = """
custom_imports = dict(
    imports=['mmpretrain.models', 'mmseg_psmt'], allow_failed_imports=False)
model = dict(
    type='PSMT',
    data_preprocessor=dict(size=(64, 64)),
    consistency=dict(type='ConfCELoss', threshold=0.),
    segmentor=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
            out_indices=[0, 1, 2, 3],
            drop_path_rate=0.4,
            layer_scale_init_value=1.0,
            gap_before_final_norm=False),
        decode_head=dict(
            type='UPerHead',
            in_channels=[8, 16, 24, 32],
            in_index=[0, 1, 2, 3],
            channels=8,
            pool_scales=(1, 2),
            num_classes=7,
            norm_cfg=dict(type='BN'),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss'))))
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / 'convnext.py').write_text(CONVNEXT)
    model = MODELS.build(Config.fromfile(tmp_path / 'convnext.py').model)
    model.init_weights()
    model.iter = 0
    return model


def test_a_convnext_learns_and_its_teachers_do_not(model):
    total(model, batch(model, size=64)).backward()
    backbone = model.segmentor.backbone
    assert type(backbone).__module__.startswith('mmpretrain.')
    assert all(p.grad is not None for p in model.segmentor.parameters())
    assert backbone.stages[0][0].depthwise_conv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teachers.parameters())


def test_the_runner_can_name_its_environment():
    import torchvision

    assert torchvision.__version__ in collect_env()['TorchVision']
