"""The tap: head(x) is decode(f), for every head that has a known site."""
import pytest
import torch
import torch.nn as nn
from mmseg.registry import MODELS

from mmseg_psmt.models.head_tap import SITES, HeadTap, find_site

MANY = dict(in_index=(0, 1, 2), in_channels=(4, 6, 8))
HEADS = {
    'DepthwiseSeparableASPPHead':
    dict(
        in_index=2, in_channels=8, c1_in_channels=4, c1_channels=3,
        dilations=(1, 2)),
    'ASPPHead':
    dict(in_index=2, in_channels=8, dilations=(1, 2)),
    'PSPHead':
    dict(in_index=2, in_channels=8, pool_scales=(1, 2)),
    'UPerHead':
    dict(MANY, pool_scales=(1, 2)),
    'SegformerHead':
    MANY,
    'FCNHead':
    dict(in_index=2, in_channels=8, concat_input=False),
    'LightHamHead':
    dict(MANY, ham_channels=8, ham_kwargs=dict(MD_R=4)),
    'ISAHead':
    dict(in_index=2, in_channels=8, isa_channels=4, down_factor=(2, 2)),
    'LRASPPHead':
    dict(MANY, input_transform='multiple_select', branch_channels=(3, 4)),
}
CASES = [(kind, {}, None) for kind in HEADS] + [
    ('FCNHead', dict(concat_input=True), None),
    ('ASPPHead', {}, 'conv_seg'),
]


def build(kind, **options):
    torch.manual_seed(0)
    head = MODELS.build({
        **dict(
            type=kind,
            channels=8,
            num_classes=5,
            norm_cfg=dict(type='BN'),
            align_corners=False),
        **HEADS[kind],
        **options
    })
    for name, tensor in head.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2.)
        elif tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.2, 1.5)
    return head.eval()


def features(kind):
    torch.manual_seed(1)
    side = 52 if kind == 'LRASPPHead' else 8
    return [
        torch.randn(2, channels, side * zoom, side * zoom)
        for channels, zoom in ((4, 4), (6, 2), (8, 1))
    ]


@torch.no_grad()
def run(head, inputs):
    torch.manual_seed(2)
    return head(inputs)


class Spy:
    """Keeps what enters a site, before the tap sees it."""

    def __init__(self, head, site):
        self.seen = None
        head.get_submodule(site).register_forward_pre_hook(self.keep)

    def keep(self, module, args):
        self.seen, self.clone = args[0], args[0].clone()


def test_every_known_head_is_tested():
    assert set(HEADS) == set(SITES)


@torch.no_grad()
@pytest.mark.parametrize('kind, options, perturb_at', CASES)
def test_head_is_decode_of_its_feature(kind, options, perturb_at):
    head, inputs = build(kind, **options), features(kind)
    spy = Spy(head, find_site(head, perturb_at))
    tap = HeadTap(head, perturb_at)
    clean = run(head, inputs)
    feat, clone = spy.seen, spy.clone
    torch.testing.assert_close(
        tap.decode(head, clone), clean, atol=1e-5, rtol=1e-5)

    delta = torch.randn_like(feat)
    with tap.perturbed(lambda f: delta):
        perturbed = run(head, inputs)
    assert torch.equal(spy.seen, clone)
    assert torch.equal(spy.clone, clone)
    assert (perturbed - clean).abs().max() > 1e-2
    torch.testing.assert_close(
        perturbed, tap.decode(head, clone + delta), atol=1e-5, rtol=1e-5)
    assert torch.equal(run(head, inputs), clean)


@torch.no_grad()
def test_decode_takes_the_weights_of_the_head_it_is_given():
    student, teacher = build('ASPPHead'), build('ASPPHead')
    for param in teacher.parameters():
        param.add_(0.1)
    inputs = features('ASPPHead')
    tap, spy = HeadTap(student), Spy(teacher, SITES['ASPPHead'])
    expected = run(teacher, inputs)
    torch.testing.assert_close(
        tap.decode(teacher, spy.clone), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_teachers_run_inside_the_hook_without_it():
    student, teacher = build('ASPPHead'), build('ASPPHead')
    inputs = features('ASPPHead')
    tap, calls = HeadTap(student), []

    def perturb(feat):
        calls.append(tap.decode(teacher, feat))
        return torch.ones_like(feat)

    with tap.perturbed(perturb):
        run(student, inputs)
    torch.testing.assert_close(
        calls[0], run(student, inputs), atol=1e-5, rtol=1e-5)
    assert len(calls) == 1


@torch.no_grad()
def test_perturbing_nothing_changes_nothing():
    head, inputs = build('ASPPHead'), features('ASPPHead')
    tap = HeadTap(head)
    clean = run(head, inputs)
    with tap.perturbed(None):
        assert torch.equal(run(head, inputs), clean)


@torch.no_grad()
def test_off_again_after_an_exception():
    head, inputs = build('ASPPHead'), features('ASPPHead')
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
    head = build('ASPPHead').to(torch.bfloat16)
    inputs = [x.to(torch.bfloat16) for x in features('ASPPHead')]
    spy, tap = Spy(head, SITES['ASPPHead']), HeadTap(head)
    with tap.perturbed(lambda f: torch.zeros(f.shape)):
        assert run(head, inputs).dtype == torch.bfloat16
    assert spy.seen.dtype == torch.bfloat16


def test_gradient_flows_past_the_perturbation():
    head, inputs = build('ASPPHead'), features('ASPPHead')
    tap = HeadTap(head)
    with tap.perturbed(lambda f: torch.ones_like(f)):
        head(inputs).sum().backward()
    assert head.aspp_modules[0].conv.weight.grad.abs().sum() > 0


def test_unknown_head_is_refused_with_a_remedy():
    head = MODELS.build(
        dict(
            type='FPNHead',
            in_channels=[4, 6],
            in_index=[0, 1],
            feature_strides=[4, 8],
            channels=8,
            num_classes=5))
    with pytest.raises(ValueError, match='perturb_at') as error:
        HeadTap(head)
    assert 'FPNHead' in str(error.value)
    assert all(kind in str(error.value) for kind in SITES)
    assert HeadTap(head, 'conv_seg').site == 'conv_seg'


def test_wrong_site_is_refused_with_the_children():
    with pytest.raises(ValueError, match="perturb_at='nowhere'") as error:
        HeadTap(build('ASPPHead'), 'nowhere')
    assert 'bottleneck' in str(error.value)
