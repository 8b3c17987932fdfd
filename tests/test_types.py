"""A type counts the same however it is written."""

import copy
from pathlib import Path

import check_data
import export
import pytest
import torch
from mmengine import Config
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from mmseg_psmt.models import PSMT, SemiSegDataPreProcessor
from mmseg_psmt.options import is_type

register_all_modules()
REPO = Path(__file__).resolve().parents[1]


@MODELS.register_module()
class OwnPreProcessor(SemiSegDataPreProcessor):
    """One of a user's own."""


WRITTEN = [
    'SemiSegDataPreProcessor',
    'mmseg.SemiSegDataPreProcessor',
    'mmseg_psmt.models.SemiSegDataPreProcessor',
    'mmseg_psmt.models.data_preprocessor.SemiSegDataPreProcessor',
    SemiSegDataPreProcessor,
    OwnPreProcessor,
    'OwnPreProcessor',
]


@pytest.mark.parametrize('kind', WRITTEN)
def test_every_way_to_write_a_type_is_known(kind):
    assert is_type(MODELS, kind, SemiSegDataPreProcessor)
    assert not is_type(MODELS, kind, PSMT)


@pytest.mark.parametrize(
    'kind',
    [
        None,
        3,
        'Nothing',
        'nowhere.at.all',
        SegDataPreProcessor,
        'SegDataPreProcessor',
        'mmseg.SegDataPreProcessor',
    ],
)
def test_other_types_are_others(kind):
    assert not is_type(MODELS, kind, SemiSegDataPreProcessor)


@pytest.fixture(scope='module')
def segmentor():
    cfg = Config.fromfile(
        REPO / 'configs/_base_/models/deeplabv3plus_r18-d16.py'
    ).model
    cfg.data_preprocessor.size = (32, 32)
    return cfg


def built(segmentor, **own):
    return MODELS.build(
        dict(
            type='PSMT',
            segmentor=copy.deepcopy(segmentor),
            warmup_iters=1,
            data_preprocessor=own,
        )
    ).data_preprocessor


@pytest.mark.parametrize('kind', [WRITTEN[i] for i in (1, 3, 4, 5)])
def test_settings_of_the_data_preprocessor_are_kept(segmentor, kind):
    made = built(segmentor, type=kind, size=(48, 64), mask_padding=False)
    assert made.size == (48, 64) and not made.mask_padding
    assert isinstance(made, OwnPreProcessor) == (kind is OwnPreProcessor)
    assert made.mean.flatten().tolist() == pytest.approx(
        segmentor.data_preprocessor.mean
    )


@pytest.mark.parametrize(
    'kind',
    ['SegDataPreProcessor', 'mmseg.SegDataPreProcessor', SegDataPreProcessor],
)
def test_that_of_the_runner_does_not_override_the_segmentor(segmentor, kind):
    made = built(segmentor, type=kind, size=(48, 64))
    assert made.size == (32, 32)
    assert type(made) is SemiSegDataPreProcessor


NEW_STYLE = """
from mmseg_psmt.datasets import PairSampler, SemiSegDataset
from mmseg_psmt.models import PSMT
model = dict(type=PSMT)
train_dataloader = dict(
    dataset=dict(type=SemiSegDataset), sampler=dict(type=PairSampler))
train_cfg = dict(max_iters=3)
"""


@pytest.mark.parametrize(
    'text',
    [
        NEW_STYLE,
        """
model = dict(type='mmseg.PSMT')
train_dataloader = dict(
    dataset=dict(type='mmseg_psmt.datasets.SemiSegDataset'),
    sampler=dict(type='mmseg.PairSampler'))
train_cfg = dict(max_iters=3)
""",
    ],
)
def test_configs_of_either_style_are_checked(tmp_path, text):
    (tmp_path / 'config.py').write_text(text)
    cfg = check_data.load(str(tmp_path / 'config.py'), {}, 1)
    assert cfg.train_cfg.max_iters == 3


def test_configs_of_another_model_are_refused_in_either_style(tmp_path):
    text = NEW_STYLE.replace('PSMT', 'HeadTap')
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(SystemExit, match='must be PSMT'):
        check_data.load(str(tmp_path / 'config.py'), {}, 1)


@pytest.mark.parametrize('prefix', ['', 'mmseg.', 'mmseg_psmt.'])
def test_an_export_names_stock_types_alone(segmentor, prefix):
    own = prefix == 'mmseg_psmt.'
    cfg = Config(
        dict(
            model=dict(
                type=f'{prefix}{"models." * own}PSMT',
                segmentor=copy.deepcopy(segmentor),
            ),
            val_evaluator=dict(
                type=f'{prefix}{"evaluation." * own}TeacherStudentIoUMetric'
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type=f'{prefix}{"engine." * own}ReliableCheckpointHook'
                )
            ),
            custom_imports=dict(imports=['mmseg_psmt', 'mine']),
        )
    )
    plain = export.plain_config(cfg)
    assert plain.val_evaluator.type == 'IoUMetric'
    assert plain.default_hooks.checkpoint.type == 'CheckpointHook'
    assert plain.custom_imports.imports == ['mine']
    assert 'psmt' not in plain.pretty_text


@pytest.mark.parametrize('prefix', ['', 'mmseg.', 'mmseg_psmt.models.'])
def test_an_export_keeps_a_neck_of_this_project(segmentor, prefix):
    net = dict(copy.deepcopy(segmentor), neck=dict(type=f'{prefix}DPTNeck'))
    cfg = Config(dict(model=dict(type='PSMT', segmentor=net)))
    plain = export.plain_config(cfg)
    assert plain.custom_imports.imports == ['mmseg_psmt']
    cfg.model.segmentor.neck.type = 'mmpretrain.DPTNeck'  # another's
    assert 'custom_imports' not in export.plain_config(cfg)


def test_an_export_downloads_nothing(segmentor):
    backbone = dict(
        type='TIMMBackbone',
        model_name='resnet18',
        features_only=True,
        pretrained=True,
        checkpoint_path='/mine/net.pth',
        pretrained_cfg_overlay=dict(file='/mine/net.pth'),
    )
    net = dict(copy.deepcopy(segmentor), backbone=backbone)
    plain = export.plain_config(
        Config(dict(model=dict(type='PSMT', segmentor=net)))
    )
    assert plain.model.backbone == dict(
        type='TIMMBackbone',
        model_name='resnet18',
        features_only=True,
        pretrained=False,
    )


def test_an_export_normalizes_as_the_model_did(segmentor):
    own = dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3)
    for model in (
        dict(segmentor=segmentor, data_preprocessor=own),
        dict(
            segmentor=dict(segmentor, data_preprocessor=None),
            data_preprocessor=own,
        ),
        dict(segmentor=segmentor, data_preprocessor=dict(size=(32, 32))),
    ):
        model = Config(dict(model=dict(type='PSMT', **model))).model
        trained = MODELS.build(copy.deepcopy(model)).data_preprocessor
        plain = export.plain_config(Config(dict(model=model)))
        exported = MODELS.build(plain.model.data_preprocessor)
        assert torch.equal(trained.mean, exported.mean)
        assert trained.size == exported.size


def test_an_export_keeps_what_reads_masks_in_colors(segmentor):
    pipeline = [
        dict(type='LoadAnnotations'),
        dict(type='ColorsToIds', colors=[[0, 0, 0]]),
    ]
    cfg = Config(
        dict(
            model=dict(type='PSMT', segmentor=copy.deepcopy(segmentor)),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    plain = export.plain_config(cfg)
    assert plain.custom_imports.imports == ['mmseg_psmt']
