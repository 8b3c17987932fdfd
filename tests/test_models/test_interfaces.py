"""Parts that a config replaces are checked when the model is built."""

import mmseg
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS, TRANSFORMS
from test_psmt import batch, build

from mmseg_psmt.models.interfaces import build_consistency

# What mmseg has for labels; LovaszLoss asks for these options.
LOSSES = [
    dict(type='CrossEntropyLoss', avg_non_ignore=True),
    pytest.param(
        dict(type='CrossEntropyLoss', class_weight=[1.0] * 6 + [2.0]),
        marks=pytest.mark.skipif(
            mmseg.__version__ == '1.2.2',
            reason='its class_weight fails at ignored pixels',
        ),
    ),
    dict(type='DiceLoss', use_sigmoid=False),
    dict(type='LovaszLoss', reduction='none'),
    dict(type='LovaszLoss', per_image=True),
    dict(type='TverskyLoss'),
    dict(type='HuasdorffDisstanceLoss'),
    dict(type='OhemCrossEntropy', thres=0.7, min_kept=10),
]


@MODELS.register_module()
class ThreeInputs(nn.Module):
    """A loss of one's own, without a threshold."""

    def forward(self, student, teacher, mask):
        return ((student - teacher) ** 2).mean(1)[mask].mean()


@MODELS.register_module()
class ValidByName(nn.Module):
    """One that takes anything else besides, as mmseg's do."""

    threshold = 0.3

    def forward(self, logits, targets, valid=None, **kwargs):
        return F.l1_loss(logits, targets, reduction='none')[:, 0][valid].sum()


@MODELS.register_module()
class Counting(nn.Module):
    """Knows how often it was asked."""

    calls = 0

    def forward(self, logits, targets, valid):
        self.calls += 1
        return logits.mean()


def scene(classes=7):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 12, 12, generator=generator)
    targets = torch.randn(2, classes, 12, 12, generator=generator) * 5
    valid = torch.rand(2, 12, 12, generator=generator) > 0.3
    return logits.requires_grad_(), targets, valid


@pytest.mark.parametrize('cfg', LOSSES)
@pytest.mark.parametrize('per_class', [True, False])
def test_losses_of_mmseg_learn_from_confident_valid_pixels(cfg, per_class):
    loss = build_consistency(
        {**cfg, 'threshold': 0.7, 'per_class': per_class}, 7, 255
    )
    logits, targets, valid = scene()
    value = loss(logits, targets, valid)
    value.backward()
    confidence, label = targets.softmax(1).max(1)
    least = torch.full_like(confidence, 0.7)
    if per_class:
        means = [confidence[valid & (label == k)].mean() for k in range(7)]
        for k in range(7):
            least[label == k] *= means[k] / max(means)
    kept = valid & (confidence >= least)
    assert 0 < kept.sum() < valid.sum()
    assert logits.grad.isfinite().all() and logits.grad.any()
    assert not logits.grad.permute(0, 2, 3, 1)[~kept].any()
    # by mmseg's loss itself
    label[~kept] = 255
    masked = logits.detach() * kept.unsqueeze(1)
    stock = MODELS.build(cfg)
    stock = (
        stock(masked, label)
        if cfg['type'].startswith('Ohem')
        else stock(masked, label, weight=None, ignore_index=255)
    )
    assert value.item() == pytest.approx(stock.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    'cfg', [*LOSSES, dict(type='ConfCELoss'), dict(type='SoftmaxMSELoss')]
)
def test_no_pixel_counts(cfg):
    loss = build_consistency(cfg, 7, 255)
    logits, targets, valid = scene()
    with torch.no_grad():
        logits[0, 0], targets[1, 1] = float('nan'), float('inf')
    value = loss(logits, targets, torch.zeros_like(valid))
    value.backward()
    assert value == 0 and not logits.grad.any()


@pytest.mark.parametrize(
    'cfg', [*LOSSES, dict(type='ConfCELoss'), dict(type='SoftmaxMSELoss')]
)
@pytest.mark.parametrize('wrong', [float('nan'), float('inf')])
def test_what_is_not_finite_where_nothing_counts_changes_nothing(cfg, wrong):
    loss = build_consistency(cfg, 7, 255)
    logits, targets, valid = scene()
    valid[0, :3], valid[1, 4] = False, False
    expected = loss(logits, targets, valid)
    expected.backward()
    gradient, logits.grad = logits.grad, None
    with torch.no_grad():
        logits[0, 2, :3], targets[1, :, 4] = wrong, wrong
    value = loss(logits, targets, valid)
    value.backward()
    assert value == expected
    torch.testing.assert_close(logits.grad, gradient)


def test_a_list_is_the_sum():
    logits, targets, valid = scene()
    parts = [
        dict(type='ConfCELoss', threshold=0.9),
        dict(type='CrossEntropyLoss', threshold=0.8, loss_weight=0.5),
        dict(type='ThreeInputs'),
    ]
    loss = build_consistency(parts, 7, 255)
    expected = sum(
        build_consistency(part, 7, 255)(logits, targets, valid)
        for part in parts
    )
    torch.testing.assert_close(loss(logits, targets, valid), expected)
    assert loss.threshold == 0


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='DiceLoss'),
        dict(type='ThreeInputs'),
        dict(type='ValidByName'),
        [dict(type='ConfCELoss', threshold=0.0), dict(type='DiceLoss')],
    ],
)
def test_any_loss_trains(cfg):
    model = build(consistency=cfg, tvat=None, warmup_iters=0)
    losses = model.loss(**batch(model))
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite() and 'unsup.confident' in losses


@pytest.mark.parametrize(
    'kind', ['SoftmaxMSELoss', 'DiceLoss', 'ThreeInputs', 'CrossEntropyLoss']
)
def test_another_type_than_that_of_the_base_config(kind):
    """As --cfg-options model.consistency.type=... makes it."""
    cfg = dict(type=kind, threshold=0.9, reduction='kept')
    logits, targets, valid = scene()
    value = build_consistency(cfg, 7, 255)(logits, targets, valid)
    plain = build_consistency(
        dict(type=kind, threshold=0.9)
        if kind in ('DiceLoss', 'CrossEntropyLoss')
        else dict(type=kind),
        7,
        255,
    )
    assert value == plain(logits, targets, valid)


def test_building_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    loss = build_consistency(dict(type='Counting'), 7, 255)
    assert loss.calls == 0 and torch.equal(torch.rand(1), expected)


@MODELS.register_module()
class Detached(nn.Module):
    def forward(self, logits, targets, valid):
        return logits.detach().mean()


@MODELS.register_module()
class TwoInputs(nn.Module):
    """One of two maps of logits, which gets labels."""

    def forward(self, logits, targets):
        return F.mse_loss(logits, targets)


@MODELS.register_module()
class WrongShape(nn.Module):
    def forward(self, feat, decode):
        return feat.mean()


@TRANSFORMS.register_module()
class ForgetsValid:
    def __call__(self, images, logits, valid, rng):
        return images, logits


@TRANSFORMS.register_module()
class MixesShares:
    """Makes the mask a share."""

    def __call__(self, images, logits, valid, rng):
        return images, logits, valid.float()


@TRANSFORMS.register_module()
class MirrorMix:
    """One that suits."""

    def __call__(self, images, logits, valid, rng):
        return images.flip(-1), logits.flip(-1), valid.flip(-1)


@MODELS.register_module()
class RandomNoise(nn.Module):
    """One that suits in place of T-VAT."""

    def forward(self, feat, decode):
        return torch.randn_like(feat)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(consistency=dict(type='Detached')), 'consistency.*gradient'),
        (dict(consistency=dict(type='LovaszLoss')), "consistency.*'none'"),
        (
            dict(consistency=[dict(type='ConfCELoss'), dict(type='Detached')]),
            'consistency',
        ),
        (dict(consistency=[]), 'consistency.*list'),
        (dict(consistency=dict(type='NoSuchLoss')), 'consistency.*NoSuchLoss'),
        (dict(consistency=dict(type='TwoInputs')), 'consistency.*labels'),
        (
            dict(mix=[dict(type='RandomFlip', prob=0.5)]),
            'mix.*numpy Generator',
        ),
        (dict(mix=[dict(type='ForgetsValid')]), 'mix.*something else'),
        (dict(mix=[dict(type='MixesShares')]), 'mix.*something else'),
        (dict(tvat=dict(type='WrongShape')), 'tvat.*something else'),
        (dict(tvat=dict(type='ConfCELoss')), 'tvat.*decodes it to logits'),
    ],
)
def test_what_does_not_suit_is_refused_when_it_is_built(options, words):
    with pytest.raises(ValueError, match=f'(?s)model.{words}'):
        build(**options)


def test_a_loss_for_one_device_alone():
    """mmseg's FocalLoss takes labels on a GPU only."""
    try:
        MODELS.build(dict(type='FocalLoss'))(
            torch.zeros(1, 7, 2, 2), torch.zeros(1, 2, 2).long()
        )
    except RuntimeError:
        if torch.cuda.is_available():
            build(consistency=dict(type='FocalLoss'))
        else:
            with pytest.raises(ValueError, match='consistency.*FocalLoss'):
                build(consistency=dict(type='FocalLoss'))
    else:
        build(consistency=dict(type='FocalLoss'))


def test_what_suits_trains():
    model = build(mix=[dict(type='MirrorMix')], tvat=dict(type='RandomNoise'))
    model.parse_losses(model.loss(**batch(model)))[0].backward()


def test_a_constructor_that_looks_for_the_backbone_is_told():
    model = build()
    assert not hasattr(model, 'backbone') and not hasattr(model, 'no_such')
    with pytest.raises(AttributeError, match='PSMTLayerDecay'):
        model.backbone  # noqa: B018
