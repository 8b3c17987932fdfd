"""Every decode head of mmseg, as one of its stock configs has it."""

import copy
import runpy
from pathlib import Path

import mmseg
import pytest
import torch
import torch.nn as nn
from mmengine import Config, ConfigDict
from mmengine.model import BaseModule, revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.models import decode_heads
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

import mmseg_psmt  # noqa: F401
from mmseg_psmt.models.head_tap import HeadTap
from mmseg_psmt.models.heads import REFUSED, SITES, prediction_of, tapped_head

register_all_modules()
STOCK = Path(mmseg.__file__).parent / '.mim/configs'
RESNET = dict(channels=(256, 512, 1024, 2048), strides=(4, 8, 8, 8))
PYRAMID = dict(channels=(256, 256, 256, 256), strides=(4, 8, 16, 32))
# Head: stock config, and the features that its backbone and neck would give.
HEADS = {
    'ANNHead': ('_base_/models/ann_r50-d8', RESNET),
    'APCHead': ('_base_/models/apcnet_r50-d8', RESNET),
    'ASPPHead': ('_base_/models/deeplabv3_r50-d8', RESNET),
    'CCHead': ('_base_/models/ccnet_r50-d8', RESNET),
    'DAHead': ('_base_/models/danet_r50-d8', RESNET),
    'DDRHead': (
        'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024',
        dict(channels=(64, 128), strides=(8, 8), training=(0, 1)),
    ),
    'DMHead': ('_base_/models/dmnet_r50-d8', RESNET),
    'DNLHead': ('_base_/models/dnl_r50-d8', RESNET),
    'DPTHead': (
        '_base_/models/dpt_vit-b16',
        dict(channels=[768] * 4, strides=[16] * 4, token=True),
    ),
    'DepthwiseSeparableASPPHead': (
        '_base_/models/deeplabv3plus_r50-d8',
        RESNET,
    ),
    'DepthwiseSeparableFCNHead': (
        '_base_/models/fast_scnn',
        dict(channels=[128] * 3, strides=(8, 32, 8)),
    ),
    'EMAHead': ('_base_/models/emanet_r50-d8', RESNET),
    'EncHead': ('_base_/models/encnet_r50-d8', RESNET),
    'FCNHead': ('_base_/models/fcn_r50-d8', RESNET),
    'FPNHead': ('_base_/models/fpn_r50', PYRAMID),
    'GCHead': ('_base_/models/gcnet_r50-d8', RESNET),
    'ISAHead': ('_base_/models/isanet_r50-d8', RESNET),
    'IterativeDecodeHead': (
        'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512',
        RESNET,
    ),
    'LRASPPHead': (
        '_base_/models/lraspp_m-v3-d8',
        dict(channels=(16, 24, 960), strides=(1, 1, 1)),
    ),
    'LightHamHead': (
        'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512',
        dict(channels=(32, 64, 160, 256), strides=(4, 8, 16, 32)),
    ),
    'NLHead': ('_base_/models/nonlocal_r50-d8', RESNET),
    'OCRHead': ('_base_/models/ocrnet_r50-d8', RESNET),
    'PIDHead': (
        'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes',
        dict(channels=(64, 128, 64), strides=(8, 8, 8), training=(0, 1, 2)),
    ),
    'PSAHead': ('_base_/models/psanet_r50-d8', RESNET),
    'PSPHead': ('_base_/models/pspnet_r50-d8', RESNET),
    'PointHead': ('_base_/models/pointrend_r50', PYRAMID),
    'SETRMLAHead': (
        '_base_/models/setr_mla',
        dict(channels=[256] * 4, strides=[16] * 4),
    ),
    'SETRUPHead': (
        '_base_/models/setr_pup',
        dict(channels=[1024] * 4, strides=[16] * 4),
    ),
    'STDCHead': (
        '_base_/models/stdc',
        dict(channels=(256, 256, 256, 256), strides=(8, 8, 8, 8)),
    ),
    'SegformerHead': (
        '_base_/models/segformer_mit-b0',
        dict(channels=(32, 64, 160, 256), strides=(4, 8, 16, 32)),
    ),
    'SegmenterMaskTransformerHead': (
        '_base_/models/segmenter_vit-b16_mask',
        dict(channels=(768,), strides=(16,)),
    ),
    'UPerHead': (
        '_base_/models/upernet_r50',
        dict(RESNET, strides=(4, 8, 16, 32)),
    ),
}
SIZE = 64


@MODELS.register_module()
class Features(BaseModule):
    """Features of the wanted shapes from an image."""

    def __init__(self, channels, strides, token=False, training=None):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, c, 1) for c in channels)
        self.strides = strides
        self.token = token
        self.outputs = training  # with one more head while training

    def forward(self, images):
        feats = [
            conv(nn.functional.avg_pool2d(images, stride))
            for conv, stride in zip(self.convs, self.strides)
        ]
        if self.outputs:
            return tuple(feats) if self.training else feats[1]
        if self.token:
            return [(feat, feat.mean((2, 3))) for feat in feats]
        return feats


def shrink(cfg):
    """An eighth of all channels."""
    if isinstance(cfg, dict):
        return {
            key: eighth(value)
            if key.endswith(('channels', 'embed_dims'))
            else shrink(value)
            for key, value in cfg.items()
        }
    return [shrink(item) for item in cfg] if isinstance(cfg, list) else cfg


def eighth(value):
    return (
        value // 8
        if isinstance(value, int)
        else [eighth(item) for item in value]
    )


def stock_segmentor(kind):
    """Config with the stock decode head, and random features to feed it."""
    file, features = HEADS[kind]
    model = Config.fromfile(STOCK / f'{file}.py').model
    head = model.decode_head
    if kind == 'STDCHead':
        head = model.auxiliary_head[-1]
        assert head.type == kind
        head.in_index = 3
    if kind == 'PSAHead':  # mask and feature alike: no compiled op needed
        head.update(compact=True, mask_size=(4, 4))
    if kind == 'LightHamHead':
        head.norm_cfg = dict(type='BN')
    for name in ('neck', 'auxiliary_head', 'pretrained', 'data_preprocessor'):
        model.pop(name, None)
    model.backbone = dict(type='Features', **features)
    model.decode_head = head
    return ConfigDict(shrink(model.to_dict()))


def randomize(net):
    for name, tensor in net.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2.0)
        elif tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.2, 1.5)


def build(kind):
    torch.manual_seed(0)
    net = revert_sync_batchnorm(MODELS.build(stock_segmentor(kind)))
    randomize(net)
    return net.eval()


@torch.no_grad()
def run(net, images):
    """What the tapped head predicts."""
    torch.manual_seed(2)
    inputs = [net.extract_feat(images)]
    head = tapped_head(net)
    if hasattr(net, 'num_stages') and head is net.decode_head[-1]:
        inputs.append(net.decode_head[0](inputs[0]))
    return prediction_of(head, head.forward(*inputs))


def test_every_head_of_mmseg_has_a_verdict():
    heads = {
        name
        for name in decode_heads.__all__
        if name.endswith('Head')
        and name != 'KernelUpdateHead'  # a part of IterativeDecodeHead
    }
    assert heads == {*HEADS, *REFUSED}
    assert {*SITES} <= {*HEADS}


def test_the_table_of_heads_is_the_generated_one():
    page = runpy.run_path('tools/misc/list_heads.py')['page']()
    assert page == Path('docs/heads.md').read_text()


@torch.no_grad()
@pytest.mark.parametrize('kind', HEADS)
def test_head_is_decode_of_its_feature(kind):
    net = build(kind)
    images = torch.randn(2, 3, SIZE, SIZE)
    head = tapped_head(net)
    tap = HeadTap(head)
    clean = run(net, images)
    assert clean.std() > 1e-3
    seen, delta = [], []

    def keep(feat):
        seen.append(feat.clone())
        return torch.zeros_like(feat)

    def disturb(feat):
        assert torch.equal(feat, seen[0])
        delta.append(feat.std() * torch.randn_like(feat))
        return delta[0]

    close = dict(rtol=1e-3, atol=1e-4 * clean.abs().max().item())
    with tap.perturbed(keep):
        torch.testing.assert_close(run(net, images), clean, **close)
    assert len(seen) == 1
    before = seen[0].clone()
    torch.testing.assert_close(tap.decode(head, seen[0]), clean, **close)
    assert torch.equal(seen[0], before)
    with tap.perturbed(disturb):
        perturbed = run(net, images)
    assert (perturbed - clean).abs().max() > 100 * close['atol']
    torch.testing.assert_close(
        tap.decode(head, seen[0] + delta[0]), perturbed, **close
    )
    assert torch.equal(run(net, images), clean)


def view(num_classes):
    samples = [SegDataSample() for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(
            data=torch.randint(num_classes, (1, SIZE, SIZE))
        )
        sample.gt_edge_map = PixelData(data=torch.randint(2, (1, SIZE, SIZE)))
    images = [torch.randint(256, (3, SIZE, SIZE)).byte() for _ in samples]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('kind', HEADS)
def test_head_trains(kind):
    torch.manual_seed(0)
    segmentor = stock_segmentor(kind)
    model = MODELS.build(
        dict(
            type='PSMT',
            segmentor=segmentor,
            data_preprocessor=dict(
                mean=[127.0] * 3, std=[64.0] * 3, size=(SIZE, SIZE)
            ),
            one_pass=False,
            consistency=dict(type='ConfCELoss', threshold=0.0),
        )
    )
    model = revert_sync_batchnorm(model)
    randomize(model.segmentor)
    model.teachers.init_from(model.segmentor)
    perturbations = []
    t_vat = model.tvat.forward

    def spy(feat, decode):
        perturbations.append(t_vat(feat, decode))
        return perturbations[-1]

    model.tvat.forward = spy
    model.iter = 0
    data = model.data_preprocessor(
        {
            name: view(model.segmentor.num_classes)
            for name in ('labeled', 'weak', 'strong')
        },
        True,
    )
    model.train()
    before = copy.deepcopy(model.teachers.state_dict())
    losses = model.loss(**data)
    total, logs = model.parse_losses(losses)
    assert torch.isfinite(total) and logs['unsup.loss'] > 0
    assert len(perturbations) >= 2
    for r_adv in perturbations:
        torch.testing.assert_close(
            r_adv.flatten(1).norm(dim=1), torch.full((2,), 2.0)
        )
    total.backward()
    for name, param in model.segmentor.named_parameters():
        if param.requires_grad and name.startswith('decode_head'):
            assert param.grad is not None, name
    unsup = model.loss(**data)['unsup.loss']
    grads = torch.autograd.grad(
        unsup,
        [p for p in model.segmentor.backbone.parameters()],
        allow_unused=True,
    )
    assert any(grad is not None and grad.abs().max() > 0 for grad in grads)
    for name, value in model.teachers.state_dict().items():
        assert torch.equal(value, before[name]), name
    prediction = model.eval().predict(data['inputs']['weak'])
    assert prediction[0].pred_sem_seg.shape == (SIZE, SIZE)


@pytest.mark.parametrize('kind', REFUSED)
def test_refused_with_a_reason(kind):
    with pytest.raises(ValueError, match=f'{kind}: it predicts .*UPerHead'):
        MODELS.build(
            dict(
                type='PSMT',
                segmentor=dict(
                    type='EncoderDecoder',
                    backbone=dict(type='ResNet', depth=18),
                    decode_head=dict(type=kind),
                ),
            )
        )
