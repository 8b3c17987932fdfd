"""T-VAT on the decoder of DeepLabv3+: 304 channels, two teachers."""
import pytest
import torch
import torch.nn as nn
from mmseg.registry import MODELS

from mmseg_psmt.models import TVAT, ensemble, t_vat

EPS = 2.


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
            norm_cfg=dict(type='BN'))).eval()
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.)
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
    return (r.double()**2).sum(dim=(1, 2, 3)).sqrt()


def assert_radius(r, eps=EPS):
    expected = torch.full((len(r), ), eps, dtype=torch.float64)
    torch.testing.assert_close(norms(r), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def kl(decode, feat, r):
    """KL per image from the prediction at ``feat`` to that at ``feat + r``."""
    p = torch.log_softmax(decode(feat).double(), dim=1)
    q = torch.log_softmax(decode(feat + r).double(), dim=1)
    return (p.exp() * (p - q)).sum(dim=(1, 2, 3))


starts = pytest.mark.parametrize('start', ['logits', 'feature'])


@starts
@pytest.mark.parametrize('num_iters', [1, 2])
@pytest.mark.parametrize('eps', [0.5, EPS])
def test_radius_is_eps(feat, decode, eps, num_iters, start):
    r = TVAT(eps=eps, num_iters=num_iters, start=start)(feat, decode)
    assert r.shape == feat.shape and r.dtype == torch.float32
    assert_radius(r, eps)


@starts
def test_far_worse_than_noise_for_the_teachers(feat, decode, start):
    adversarial = kl(
        decode, feat, t_vat(feat, decode, start=start, generator=seeded()))
    noise = []
    for seed in range(4):
        r = torch.randn(feat.shape, generator=seeded(seed))
        r *= EPS / norms(r).float()[:, None, None, None]
        noise.append(kl(decode, feat, r))
    assert (adversarial > 10 * torch.stack(noise).mean(dim=0)).all()


@starts
def test_further_iterations_find_worse(feat, decode, start):
    found = [
        kl(decode, feat,
           t_vat(feat, decode, num_iters=k, start=start,
                 generator=seeded())).sum()
        for k in (1, 4)
    ]
    assert found[1] > found[0]


def test_one_iteration_is_the_gradient_of_the_kl(feat, decode):
    xi, d = 0.1, torch.randn(feat.shape, generator=seeded())
    d = (d * xi / norms(d).float()[:, None, None, None]).requires_grad_()
    p = torch.softmax(decode(feat), dim=1).detach()
    kl_but_constant = (-p * torch.log_softmax(decode(feat + d), dim=1)).sum()
    gradient, = torch.autograd.grad(kl_but_constant, d)
    r = t_vat(feat, decode, eps=1., start='feature', generator=seeded())
    cosine = (r * gradient).sum(dim=(1, 2, 3)) / norms(gradient)
    torch.testing.assert_close(
        cosine, torch.ones_like(cosine), atol=1e-3, rtol=0)


def test_logits_begin_half_an_iteration_later(feat):
    """On a linear decoder J, against J'F u in closed form, one and two."""
    weight = torch.randn(5, 304, generator=seeded(1)) / 10
    options = dict(start='logits', eps=1.)

    def decode(f):
        return torch.einsum('kc,nchw->nkhw', weight, f)

    def fisher(x):  # the covariance of the classes is p x - p (p, x)
        return p * x - p * (p * x).sum(dim=1, keepdim=True)

    p = torch.softmax(decode(feat), dim=1)
    rng = seeded()
    torch.randn(2, 304, 1, 1, generator=rng)
    u = torch.randn(2, 5, 1, 1, generator=rng)
    d = torch.einsum('kc,nkhw->nchw', weight, fisher(u))
    torch.testing.assert_close(
        t_vat(feat, decode, **options, generator=seeded()),
        d / norms(d).float()[:, None, None, None])
    d = torch.einsum('kc,nkhw->nchw', weight, fisher(decode(d)))
    torch.testing.assert_close(
        t_vat(feat, decode, num_iters=2, xi=1e-2, **options,
              generator=seeded()),
        d / norms(d).float()[:, None, None, None], rtol=1e-2, atol=1e-4)


def test_logits_decode_once(feat, decode):
    calls = []
    t_vat(feat, lambda f: calls.append(1) or decode(f), start='logits')
    assert len(calls) == 1


def test_a_constant_in_the_norm_shrinks_a_small_gradient(feat):
    """A linear decoder, whose gradient is known, and too small for it."""
    scale, norm_eps = 3e-2, 0.5
    weight = torch.randn(3, 304, 1, 1, generator=seeded(1)) * scale

    def decode(f):
        return torch.nn.functional.conv2d(f, weight)

    r = t_vat(feat, decode, eps=EPS, norm_eps=norm_eps, start='feature',
              generator=seeded())
    noise = torch.randn(feat.shape, generator=seeded())
    length = norms(noise).float()[:, None, None, None]
    step = 0.1 * noise / (length + norm_eps)
    moved = torch.softmax(decode(feat + step), 1)
    p = torch.softmax(decode(feat), 1)
    gradient = torch.nn.functional.conv_transpose2d(moved - p, weight)
    size = norms(gradient).float()
    assert (norms(r) < 0.5 * EPS).all()
    torch.testing.assert_close(
        r, EPS * gradient / (size + norm_eps)[:, None, None, None],
        rtol=1e-2, atol=1e-2 * r.abs().max().item())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('options', [
    dict(start='feature'), dict(start='logits', num_iters=2)])
def test_autocast_leaves_finite_differences_alone(
        feat, decode, dtype, options):
    feat = feat.to(dtype)
    expected = t_vat(feat.float(), decode, **options, generator=seeded())
    with torch.autocast('cpu', torch.bfloat16):
        r = t_vat(feat, decode, **options, generator=seeded())
    assert r.dtype == torch.float32
    assert_radius(r)
    torch.testing.assert_close(r, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('factor', [1., 20.])
def test_autocast_finds_the_same_direction(feat, decode, dtype, factor):
    """With a single pass there is no difference that rounding would eat."""

    def confident(f):
        seen.append(decode(f).dtype)
        return decode(f) * factor

    seen = []
    expected = t_vat(feat, confident, generator=seeded())
    with torch.autocast('cpu', dtype):
        r = t_vat(feat.to(dtype), confident, generator=seeded())
    assert seen == [torch.float32, dtype]
    assert r.dtype == torch.float32
    assert_radius(r)
    cosine = torch.cosine_similarity(r.flatten(1), expected.flatten(1))
    assert (cosine > 0.97).all()


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


@starts
def test_a_decoder_of_float64(feat, start):
    small, weight = feat[:, :8].double(), torch.randn(5, 8).double()
    r = t_vat(small, lambda x: torch.einsum('nchw,kc->nkhw', x, weight),
              start=start, generator=seeded())
    assert r.dtype == torch.float64
    assert_radius(r)


@starts
def test_no_image_has_no_perturbation(feat, decode, start):
    assert t_vat(feat[:0], decode, start=start).shape == feat[:0].shape


@starts
def test_inference_mode_changes_nothing(feat, decode, start):
    expected = t_vat(feat, decode, start=start, generator=seeded())
    with torch.inference_mode():
        r = t_vat(feat * 1, decode, start=start, generator=seeded())
    torch.testing.assert_close(r, expected)


def test_generator_decides(feat, decode):
    first, again, other = (
        t_vat(feat, decode, generator=seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_do_not_see_each_other(feat, decode):
    both = t_vat(feat, decode, generator=seeded())
    other = torch.cat([feat[:1], feat[1:] * 100])
    mixed = t_vat(other, decode, generator=seeded())
    torch.testing.assert_close(mixed[0], both[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize('start, size', [('feature', 16), ('logits', 1)])
def test_flat_decoder_keeps_the_random_direction(feat, start, size):
    r = t_vat(feat, lambda f: 0 * f[:, :4], start=start, generator=seeded())
    noise = torch.randn(2, 304, size, size, generator=seeded())
    noise = noise.expand_as(feat)
    assert_radius(r)
    torch.testing.assert_close(
        r, EPS * noise / norms(noise).float()[:, None, None, None])


@starts
@pytest.mark.parametrize('factor', [1e-6, 1e4])
def test_radius_ignores_the_confidence(feat, decode, factor, start):
    assert_radius(
        t_vat(feat, lambda f: decode(f) * factor, start=start,
              generator=seeded()))


@starts
@pytest.mark.parametrize('wrong', [float('inf'), float('nan')])
def test_wrong_gradient_keeps_the_random_direction(feat, wrong, start):

    def decode(f):
        logits = f[:, :4] * 1
        if logits.requires_grad:
            logits.register_hook(lambda grad: grad + wrong)
        return logits

    r = t_vat(feat, decode, start=start, generator=seeded())
    flat = t_vat(feat, lambda f: 0 * f[:, :4], start=start,
                 generator=seeded())
    assert_radius(r)
    assert torch.equal(r, flat)


@pytest.mark.parametrize('bad', [
    dict(xi=0.),
    dict(xi=-1.),
    dict(eps=0.),
    dict(eps=-2.),
    dict(num_iters=0),
    dict(start='noise'),
    dict(norm_eps=1e-8)
])
def test_wrong_numbers_are_refused(feat, decode, bad):
    name, = bad
    with pytest.raises(ValueError, match=name):
        TVAT(**bad)
    with pytest.raises(ValueError, match=name):
        t_vat(feat, decode, **bad)
