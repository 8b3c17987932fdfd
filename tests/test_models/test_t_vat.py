"""T-VAT on the decoder of DeepLabv3+: 304 channels, two teachers."""

import pytest
import torch
import torch.nn as nn
from mmseg.registry import MODELS

from mmseg_psmt.models import TVAT, ensemble, t_vat

EPS = 2.0


def decoder(seed):
    torch.manual_seed(seed)
    head = MODELS.build(
        dict(
            type='DepthwiseSeparableASPPHead',
            in_channels=8,
            channels=256,
            c1_in_channels=8,
            c1_channels=48,
            dilations=(1, 6),
            num_classes=21,
            norm_cfg=dict(type='BN'),
        )
    ).eval()
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return head


@pytest.fixture(scope='module')
def heads():
    return [decoder(1), decoder(2)]


@pytest.fixture(scope='module')
def decode(heads):
    return lambda f: ensemble(*(h.cls_seg(h.sep_bottleneck(f)) for h in heads))


@pytest.fixture
def feat():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 304, 16, 16, generator=rng).relu()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def norms(r):
    return (r.double() ** 2).sum(dim=(1, 2, 3)).sqrt()


def assert_radius(r, eps=EPS):
    expected = torch.full((len(r),), eps, dtype=torch.float64)
    torch.testing.assert_close(norms(r), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def kl(decode, feat, r):
    """KL per image from the prediction at ``feat`` to that at ``feat + r``."""
    p = torch.log_softmax(decode(feat).double(), dim=1)
    q = torch.log_softmax(decode(feat + r).double(), dim=1)
    return (p.exp() * (p - q)).sum(dim=(1, 2, 3))


@pytest.mark.parametrize('num_iters', [1, 2])
@pytest.mark.parametrize('eps', [0.5, EPS])
def test_radius_is_eps(feat, decode, eps, num_iters):
    r = TVAT(eps=eps, num_iters=num_iters)(feat, decode)
    assert r.shape == feat.shape and r.dtype == torch.float32
    assert_radius(r, eps)


def test_far_worse_than_noise_for_the_teachers(feat, decode):
    adversarial = kl(decode, feat, t_vat(feat, decode, generator=seeded()))
    noise = []
    for seed in range(4):
        r = torch.randn(feat.shape, generator=seeded(seed))
        r *= EPS / norms(r).float()[:, None, None, None]
        noise.append(kl(decode, feat, r))
    assert (adversarial > 10 * torch.stack(noise).mean(dim=0)).all()


def test_further_iterations_find_worse(feat, decode):
    found = [
        kl(
            decode, feat, t_vat(feat, decode, num_iters=k, generator=seeded())
        ).sum()
        for k in (1, 4)
    ]
    assert found[1] > found[0]


def test_one_iteration_is_the_gradient_of_the_kl(feat, decode):
    xi, d = 0.1, torch.randn(feat.shape, generator=seeded())
    d = (d * xi / norms(d).float()[:, None, None, None]).requires_grad_()
    p = torch.softmax(decode(feat), dim=1).detach()
    kl_but_constant = (-p * torch.log_softmax(decode(feat + d), dim=1)).sum()
    (gradient,) = torch.autograd.grad(kl_but_constant, d)
    r = t_vat(feat, decode, eps=1.0, generator=seeded())
    cosine = (r * gradient).sum(dim=(1, 2, 3)) / norms(gradient)
    torch.testing.assert_close(
        cosine, torch.ones_like(cosine), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('num_iters', [1, 2])
def test_autocast_leaves_finite_differences_alone(
    feat, decode, dtype, num_iters
):
    feat = feat.to(dtype)
    options = dict(num_iters=num_iters)
    expected = t_vat(feat.float(), decode, **options, generator=seeded())
    with torch.autocast('cpu', torch.bfloat16):
        r = t_vat(feat, decode, **options, generator=seeded())
    assert r.dtype == torch.float32
    assert_radius(r)
    torch.testing.assert_close(r, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize('grad_mode', [True, False])
def test_teachers_and_feature_are_left_alone(feat, grad_mode):
    head = decoder(3)
    head.sep_bottleneck.requires_grad_(False)
    needs = [p.requires_grad for p in head.parameters()]
    states = [t.clone() for t in head.state_dict().values()]
    clone = feat.clone()
    feat.requires_grad_()
    with torch.set_grad_enabled(grad_mode):
        r = t_vat(feat * 1, lambda f: head.cls_seg(head.sep_bottleneck(f)))
    assert not r.requires_grad and r.grad_fn is None
    assert feat.grad is None and torch.equal(feat.detach(), clone)
    assert all(p.grad is None for p in head.parameters())
    assert [p.requires_grad for p in head.parameters()] == needs
    assert all(map(torch.equal, states, head.state_dict().values()))


def test_a_decoder_of_float64(feat):
    small, weight = feat[:, :8].double(), torch.randn(5, 8).double()
    r = t_vat(
        small,
        lambda x: torch.einsum('nchw,kc->nkhw', x, weight),
        generator=seeded(),
    )
    assert r.dtype == torch.float64
    assert_radius(r)


def test_no_image_has_no_perturbation(feat, decode):
    assert t_vat(feat[:0], decode).shape == feat[:0].shape


def test_inference_mode_changes_nothing(feat, decode):
    expected = t_vat(feat, decode, generator=seeded())
    with torch.inference_mode():
        r = t_vat(feat * 1, decode, generator=seeded())
    torch.testing.assert_close(r, expected)


def test_generator_decides(feat, decode):
    first, again, other = (
        t_vat(feat, decode, generator=seeded(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_do_not_see_each_other(feat, decode):
    both = t_vat(feat, decode, generator=seeded())
    other = torch.cat([feat[:1], feat[1:] * 100])
    mixed = t_vat(other, decode, generator=seeded())
    torch.testing.assert_close(mixed[0], both[0], atol=1e-5, rtol=0)


def test_flat_decoder_keeps_the_random_direction(feat):
    r = t_vat(feat, lambda f: 0 * f[:, :4], generator=seeded())
    noise = torch.randn(feat.shape, generator=seeded())
    assert_radius(r)
    torch.testing.assert_close(
        r, EPS * noise / norms(noise).float()[:, None, None, None]
    )


@pytest.mark.parametrize('factor', [1e-6, 1e4])
def test_radius_ignores_the_confidence(feat, decode, factor):
    assert_radius(
        t_vat(feat, lambda f: decode(f) * factor, generator=seeded())
    )


@pytest.mark.parametrize('wrong', [float('inf'), float('nan')])
def test_wrong_gradient_keeps_the_random_direction(feat, wrong):

    def decode(f):
        logits = f[:, :4] * 1
        if logits.requires_grad:
            logits.register_hook(lambda grad: grad + wrong)
        return logits

    r = t_vat(feat, decode, generator=seeded())
    flat = t_vat(feat, lambda f: 0 * f[:, :4], generator=seeded())
    assert_radius(r)
    assert torch.equal(r, flat)


@pytest.mark.parametrize(
    'bad',
    [
        dict(xi=0.0),
        dict(xi=-1.0),
        dict(eps=0.0),
        dict(eps=-2.0),
        dict(num_iters=0),
    ],
)
def test_wrong_numbers_are_refused(feat, decode, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        TVAT(**bad)
    with pytest.raises(ValueError, match=name):
        t_vat(feat, decode, **bad)
