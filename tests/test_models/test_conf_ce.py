"""Conf-CE and its rival against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from mmseg_psmt.models.conf_ce_loss import ConfCELoss, conf_ce
from mmseg_psmt.models.pseudo_label import confident_pixels
from mmseg_psmt.models.softmax_mse_loss import SoftmaxMSELoss

SHAPE = (3, 5, 4, 6)


def softmax(logits):
    weights = [math.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def pixels(logits, targets, valid):
    """Student and teacher probabilities of each valid pixel, in float64."""
    student = logits.detach().numpy().astype(np.float64)
    teacher = targets.detach().numpy().astype(np.float64)
    n, _, h, w = student.shape
    for i, y, x in np.ndindex(n, h, w):
        if valid is None or valid[i, y, x]:
            yield softmax(student[i, :, y, x]), softmax(teacher[i, :, y, x])


def conf_ce_by_hand(
    logits, targets, threshold, valid, reduction, per_class=True
):
    total, kept, seen = 0.0, 0, 0
    sure = [[] for _ in range(logits.size(1))]  # confidences of each class
    for _, teacher in pixels(logits, targets, valid):
        sure[np.argmax(teacher)].append(max(teacher))
    means = [np.mean(values) if values else 0.0 for values in sure]
    for student, teacher in pixels(logits, targets, valid):
        seen += 1
        least = threshold
        if per_class:
            least *= means[np.argmax(teacher)] / max(means)
        if max(teacher) >= least:
            kept += 1
            total -= max(teacher) * math.log(student[np.argmax(teacher)])
    return total / max(kept if reduction == 'kept' else seen, 1)


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(SHAPE, generator=rng)
    targets = 2 * torch.randn(SHAPE, generator=rng)
    valid = torch.rand(SHAPE[0], *SHAPE[2:], generator=rng) < 0.7
    return logits.requires_grad_(), targets.requires_grad_(), valid


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize('reduction', ['kept', 'valid'])
@pytest.mark.parametrize('threshold', [0.0, 0.4, 0.6, 0.9])
@pytest.mark.parametrize('per_class', [True, False])
def test_conf_ce_is_the_formula(
    batch, threshold, reduction, masked, per_class
):
    logits, targets, valid = batch
    valid = valid if masked else None
    options = threshold, valid, reduction, per_class
    expected = conf_ce_by_hand(logits, targets, *options)
    loss = conf_ce(logits, targets, *options)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6, rel=1e-6)
    module = ConfCELoss(threshold, reduction, per_class)
    if masked:
        assert module(logits, targets, valid).item() == loss.item()


def test_a_class_that_is_learned_late_has_a_lower_threshold():
    """Confidences: 0.95 twice of class 0; 0.6, 0.5 and 0.4 of class 1."""
    sure = (
        torch.tensor(
            [
                [0.95, 0.95, 0.3, 0.3, 0.3],
                [0.03, 0.03, 0.6, 0.5, 0.4],
                [0.02, 0.02, 0.1, 0.2, 0.3],
            ]
        )
        .view(1, 3, 1, 5)
        .log()
    )
    valid = torch.ones(1, 1, 5, dtype=torch.bool)
    kept = confident_pixels(sure, 0.9, valid)[2]
    assert kept.flatten().tolist() == [True, True, False, False, False]
    # 0.9 * 0.5 / 0.95 = 0.47
    kept = confident_pixels(sure, 0.9, valid, per_class=True)[2]
    assert kept.flatten().tolist() == [True, True, True, True, False]
    # what is not valid decides nothing: 0.9 * 0.6 / 0.95 = 0.57
    valid[0, 0, 3:] = False
    kept = confident_pixels(sure, 0.9, valid, per_class=True)[2]
    assert kept.flatten().tolist() == [True, True, True, False, False]
    assert not confident_pixels(sure, 0.9, valid & False, True)[2].any()


def test_the_default_averages_as_the_formula_of_the_paper(batch):
    logits, targets, valid = batch
    expected = conf_ce_by_hand(logits, targets, 0.9, valid, 'valid')
    assert conf_ce(logits, targets, valid=valid).item() == pytest.approx(
        expected, rel=1e-6
    )
    assert ConfCELoss()(logits, targets, valid).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_the_threshold_itself_is_confident():
    tie = torch.zeros(1, 2, 1, 1)
    assert conf_ce(tie, tie, 0.5).item() == pytest.approx(0.5 * math.log(2))


@pytest.mark.parametrize('reduction', ['kept', 'valid'])
def test_nothing_confident_is_zero_with_a_graph(batch, reduction):
    logits, targets, _ = batch
    loss = conf_ce(logits, 0 * targets, 0.9, None, reduction)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros(SHAPE))


@pytest.mark.parametrize(
    'loss_fn',
    [ConfCELoss(0.6, 'kept'), ConfCELoss(0.6, 'valid'), SoftmaxMSELoss()],
)
def test_padding_alone_is_zero_with_a_graph(batch, loss_fn):
    logits, targets, valid = batch
    loss = loss_fn(logits, targets, torch.zeros_like(valid))
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros(SHAPE))


def test_one_class_costs_nothing():
    logits = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = conf_ce(logits, torch.randn(2, 1, 3, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize('loss_fn', [ConfCELoss(0.5), SoftmaxMSELoss()])
def test_gradient_reaches_the_student_alone(batch, loss_fn):
    logits, targets, valid = batch
    loss_fn(logits, targets, valid).backward()
    assert targets.grad is None
    per_pixel = logits.grad.abs().sum(dim=1)
    assert per_pixel[valid].sum() > 0
    assert per_pixel[~valid].sum() == 0


def test_gradient_is_the_confidence_times_that_of_ce(batch):
    logits, targets, valid = batch
    conf_ce(logits, targets, 0.6, valid, per_class=False).backward()
    student = torch.softmax(logits.detach().double(), dim=1)
    confidence, label = torch.softmax(targets.double(), dim=1).max(dim=1)
    kept = valid & (confidence >= 0.6)
    one_hot = torch.eye(SHAPE[1])[label].permute(0, 3, 1, 2)
    expected = (kept * confidence)[:, None] * (student - one_hot) / valid.sum()
    torch.testing.assert_close(
        logits.grad.double(), expected.detach(), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize(
    'bad',
    [
        dict(threshold=-0.1),
        dict(threshold=1.1),
        dict(threshold=float('nan')),
        dict(reduction='mean'),
        dict(reduction=None),
    ],
)
def test_wrong_options_are_refused(bad):
    name = next(iter(bad))
    logits = torch.zeros(1, 2, 1, 1)
    with pytest.raises(ValueError, match=name):
        ConfCELoss(**bad)
    with pytest.raises(ValueError, match=name):
        conf_ce(logits, logits, **bad)


def test_softmax_mse_is_the_formula(batch):
    logits, targets, valid = batch
    costs = [
        (s - t) ** 2
        for pair in pixels(logits, targets, valid)
        for s, t in zip(*pair)
    ]
    assert SoftmaxMSELoss()(logits, targets, valid).item() == pytest.approx(
        sum(costs) / len(costs), rel=1e-6
    )
