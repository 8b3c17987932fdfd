"""How the tap perturbs, switches off, decodes and is verified."""

import copy

import pytest
import torch
import torch.nn as nn
from mmseg.models.decode_heads import ASPPHead, DAHead, DDRHead
from mmseg.registry import MODELS

from mmseg_psmt.models.head_tap import HeadTap
from mmseg_psmt.models.heads import find_site, prediction_of

HEAD = dict(
    type='ASPPHead',
    in_index=2,
    in_channels=8,
    dilations=(1, 2),
    channels=8,
    num_classes=5,
    norm_cfg=dict(type='BN'),
    align_corners=False,
)


def build(**options):
    torch.manual_seed(0)
    cfg = {**HEAD, **options}
    if 'pam_channels' in cfg:
        del cfg['dilations']
    head = MODELS.build(cfg)
    for name, tensor in head.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2.0)
        elif tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.2, 1.5)
    return head.eval()


def features():
    torch.manual_seed(1)
    return [
        torch.randn(2, channels, 8 * zoom, 8 * zoom)
        for channels, zoom in ((4, 4), (6, 2), (8, 1))
    ]


@torch.no_grad()
def run(head, inputs):
    torch.manual_seed(2)
    return head.forward(inputs)


class Spy:
    """Keeps what enters a site, before the tap sees it."""

    def __init__(self, head, site):
        self.seen = None
        head.get_submodule(site).register_forward_pre_hook(self.keep)

    def keep(self, module, args):
        self.seen, self.clone = args[0], args[0].clone()


@torch.no_grad()
def test_decode_takes_the_weights_of_the_head_it_is_given():
    student, teacher = build(), build()
    for param in teacher.parameters():
        param.add_(0.1)
    inputs = features()
    tap, spy = HeadTap(student), Spy(teacher, 'bottleneck')
    expected = run(teacher, inputs)
    torch.testing.assert_close(
        tap.decode(teacher, spy.clone), expected, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_teachers_run_inside_the_hook_without_it():
    student, teacher = build(), build()
    inputs = features()
    tap, calls = HeadTap(student), []

    def perturb(feat):
        calls.append(tap.decode(teacher, feat))
        return torch.ones_like(feat)

    with tap.perturbed(perturb):
        run(student, inputs)
    torch.testing.assert_close(
        calls[0], run(student, inputs), atol=1e-5, rtol=1e-5
    )
    assert len(calls) == 1


@torch.no_grad()
def test_perturbing_nothing_changes_nothing():
    head, inputs = build(), features()
    tap = HeadTap(head)
    clean = run(head, inputs)
    with tap.perturbed(None):
        assert torch.equal(run(head, inputs), clean)


@torch.no_grad()
def test_off_again_after_an_exception():
    head, inputs = build(), features()
    tap = HeadTap(head)
    clean = run(head, inputs)

    def broken(feat):
        raise RuntimeError('broken')

    with pytest.raises(RuntimeError, match='broken'):
        with tap.perturbed(broken):
            run(head, inputs)
    assert torch.equal(run(head, inputs), clean)


@torch.no_grad()
def test_perturbation_takes_the_type_of_the_feature():
    head = build().to(torch.bfloat16)
    inputs = [x.to(torch.bfloat16) for x in features()]
    spy, tap = Spy(head, 'bottleneck'), HeadTap(head)
    with tap.perturbed(lambda f: torch.zeros(f.shape)):
        assert run(head, inputs).dtype == torch.bfloat16
    assert spy.seen.dtype == torch.bfloat16


def test_gradient_flows_past_the_perturbation():
    head, inputs = build(), features()
    tap = HeadTap(head)
    with tap.perturbed(lambda f: torch.ones_like(f)):
        head(inputs).sum().backward()
    assert head.aspp_modules[0].conv.weight.grad.abs().sum() > 0


@MODELS.register_module()
class MyHead(ASPPHead):
    """A user's own, whose last feature nobody knows."""

    def forward(self, inputs):
        return 2 * super().forward(inputs)


@torch.no_grad()
def test_unknown_head_is_run_again_from_its_inputs():
    head, inputs = build(type='MyHead'), features()
    teacher = copy.deepcopy(head)
    tap = HeadTap(head)
    assert tap.site == 'inputs'
    clean = run(head, inputs)
    delta = torch.randn(2, sum(x[0].numel() for x in inputs))
    sizes = [x[0].numel() for x in inputs]
    moved = [
        x + part.view_as(x) for x, part in zip(inputs, delta.split(sizes, 1))
    ]
    with tap.perturbed(lambda f: delta):
        perturbed = run(head, inputs)
    assert not torch.allclose(perturbed, clean)
    torch.testing.assert_close(perturbed, run(teacher, moved))
    flat = torch.cat([x.flatten(1) for x in moved], 1)
    torch.testing.assert_close(tap.decode(teacher, flat), perturbed)
    assert torch.equal(run(head, inputs), clean)


def test_perturb_at_overrides_the_known_site():
    assert find_site(build()) == 'bottleneck'
    for site in ('inputs', 'conv_seg'):
        assert find_site(build(), site) == site


@MODELS.register_module()
class MyDAHead(DAHead):
    """A user's own with several outputs."""


@torch.no_grad()
def test_several_outputs_of_an_unknown_head():
    head, inputs = build(type='MyDAHead', pam_channels=4), features()
    teacher, tap = copy.deepcopy(head), HeadTap(head)
    first = run(teacher, inputs)[0]
    flat = torch.cat([x.flatten(1) for x in inputs], 1)
    with tap.perturbed(torch.zeros_like):
        run(head, inputs)
    torch.testing.assert_close(tap.decode(teacher, flat), first)
    with pytest.raises(ValueError, match='ASPPHead returns 2 outputs'):
        prediction_of(build(), [first, first])


@pytest.mark.parametrize('perturb_at', [None, 'inputs'])
def test_heads_that_cannot_be_run_again_are_refused(perturb_at):
    class MyDDRHead(DDRHead):
        pass

    loss = dict(type='CrossEntropyLoss')
    head = MyDDRHead(8, 8, 5, loss_decode=[loss, loss])
    with pytest.raises(ValueError, match='MyDDRHead.*other inputs in train'):
        HeadTap(head, perturb_at)
    assert HeadTap(head, 'head').site == 'head'


def test_inputs_that_are_no_tensors_are_refused_with_a_remedy():
    head = build(type='MyHead')
    tap = HeadTap(head)
    with tap.perturbed(torch.zeros_like):
        with pytest.raises(TypeError, match='perturb_at'):
            head.forward([(x, x.shape[2:]) for x in features()])


def test_a_copy_of_the_head_keeps_its_own_tap():
    for site in ('inputs', 'bottleneck'):
        head, inputs = build(), features()
        net = nn.Module()
        net.head, net.tap = head, HeadTap(head, site)
        clean = run(head, inputs)
        with net.tap.perturbed(torch.ones_like):
            head.forward([x.requires_grad_() for x in inputs])
        other = copy.deepcopy(net)
        with other.tap.perturbed(torch.ones_like):
            assert torch.equal(run(head, inputs), clean)
            assert not torch.equal(run(other.head, inputs), clean)
        with torch.no_grad():
            for param in other.head.parameters():
                param.zero_()
        assert torch.equal(run(head, inputs), clean)
        assert not torch.equal(run(other.head, inputs), clean)


class Segmentor:
    def __init__(self):
        self.decode_head = build()

    def extract_feat(self, images):
        return features()


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('site', ['bottleneck', 'conv_seg'])
def test_a_site_that_suits_passes(site, amp):
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        HeadTap(build(), site).verify(Segmentor(), torch.zeros(1))


@pytest.mark.parametrize(
    'site',
    [
        'bottleneck.conv',  # norm and activation come between
        'aspp_modules',  # never called
        'aspp_modules.0',  # one of several features
        'image_pool',
    ],
)
def test_a_site_that_does_not_suit_is_refused(site):
    with pytest.raises(ValueError, match=f'{site}.*conv_seg'):
        HeadTap(build(), site).verify(Segmentor(), torch.zeros(1))


def test_wrong_site_is_refused_with_the_children():
    with pytest.raises(ValueError, match="perturb_at='nowhere'") as error:
        HeadTap(build(), 'nowhere')
    assert 'bottleneck' in str(error.value)
