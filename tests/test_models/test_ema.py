"""The moving average against its closed form."""

import copy

import pytest
import torch
import torch.nn as nn

from mmseg_psmt.models import ema_update_


def network(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    )
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(-1, 1)
        else:
            tensor.fill_(seed)
    return net


def state(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def expected(target, source, keep):
    """``keep`` of the target and the rest of the source; integers copied."""
    return {
        name: keep * tensor + (1 - keep) * source[name]
        if tensor.is_floating_point()
        else source[name]
        for name, tensor in target.items()
    }


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('decay', [0.0, 0.5, 0.996, 1.0])
def test_k_steps_have_a_closed_form(decay, dtype):
    target, source = network(1).to(dtype), network(2).to(dtype)
    start, fixed = state(target), state(source)
    for _ in range(7):
        ema_update_(target, source, decay)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        state(target), expected(start, fixed, decay**7), atol=tolerance, rtol=0
    )


def test_still_right_after_the_networks_moved():
    target, source = network(1), network(2)
    ema_update_(target, source, 0.5)
    target, source = copy.deepcopy(target).double(), source.double()
    start = state(target)
    ema_update_(target, source, 0.9)
    torch.testing.assert_close(
        state(target), expected(start, state(source), 0.9), atol=1e-12, rtol=0
    )


def test_follows_a_source_that_moves():
    target, source = network(1), network(2)
    weight = target[0].weight.detach().clone()
    for seed in (3, 4, 5):
        source.load_state_dict(network(seed).state_dict())
        weight = 0.9 * weight + 0.1 * source[0].weight.detach()
        ema_update_(target, source, 0.9)
    torch.testing.assert_close(target[0].weight.detach(), weight)


def test_first_update_keeps_an_independent_teacher():
    target, source = network(1), network(2)
    start = state(target)
    ema_update_(target, source, 0.996)
    for name, tensor in start.items():
        if tensor.is_floating_point():
            moved = target.state_dict()[name] - tensor
            gap = source.state_dict()[name] - tensor
            assert 0 < moved.abs().max() < 0.005 * gap.abs().max()


def test_source_unchanged_and_gets_no_graph():
    target, source = network(1), network(2)
    fixed = state(source)
    ema_update_(target, source, 0.3)
    assert all(
        torch.equal(tensor, fixed[name])
        for name, tensor in source.state_dict().items()
    )
    for net in (target, source):
        assert all(p.requires_grad and p.is_leaf for p in net.parameters())


@pytest.mark.parametrize('wrong', [float('nan'), float('inf')])
def test_decay_zero_copies_over_anything(wrong):
    target, source = network(1), network(2)
    for tensor in target.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(wrong)
    ema_update_(target, source, 0.0)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    'dtype, decay, moves',
    [
        (torch.bfloat16, 0.996, False),
        (torch.bfloat16, 0.9, True),
        (torch.float16, 0.9995, False),
        (torch.float16, 0.996, True),
        (torch.float32, 0.99999, True),
        (torch.bfloat16, 1.0, True),
        (torch.bfloat16, 0.0, True),
    ],
)
def test_an_average_that_never_moves_is_refused(dtype, decay, moves):
    """In bfloat16 1 + 0.004 is 1."""
    target, source = network(1).to(dtype), network(2).to(dtype)
    start = state(target)
    if moves:
        ema_update_(target, source, decay)
        same = torch.equal(target[0].weight, start['0.weight'])
        assert same == (decay == 1)
    else:
        with pytest.raises(ValueError, match='never moves.*AmpOptimWrapper'):
            ema_update_(target, source, decay)
        for name, tensor in target.state_dict().items():
            assert torch.equal(tensor, start[name])


def test_other_names_are_refused():
    target = network(1)
    target.register_buffer('extra', torch.zeros(1))
    start = state(target)
    for pair in ((target, network(2)), (network(2), target)):
        with pytest.raises(ValueError, match='extra'):
            ema_update_(*pair, 0.9)
    assert all(
        torch.equal(tensor, start[name])
        for name, tensor in target.state_dict().items()
    )


def test_other_shapes_are_refused():
    target, source = network(1), network(2)
    target[2] = nn.Conv2d(4, 1, 1)
    start = state(target)
    with pytest.raises(ValueError, match=r'2\.weight is \(1, 4'):
        ema_update_(target, source, 0.9)
    assert all(
        torch.equal(tensor, start[name])
        for name, tensor in target.state_dict().items()
    )


@pytest.mark.parametrize('decay', [-0.1, 1.1, float('nan')])
def test_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match='decay'):
        ema_update_(network(1), network(2), decay)
