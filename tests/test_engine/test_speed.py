"""What is faster must be the same."""

import copy
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import HOOKS
from test_psmt import SEGMENTOR, batch, build

from mmseg_psmt.engine.model import backward_with

STILL = copy.deepcopy(SEGMENTOR)  # nothing differs between one pass and two
STILL.decode_head.dropout_ratio = 0.0
for part in STILL.backbone, STILL.decode_head:
    part.norm_cfg = dict(type='GN', num_groups=2)


def five_steps(speed=None, segmentor=SEGMENTOR, tvat=None, **options):
    """Losses of five steps, and the weights of student and teachers.

    In float64 without T-VAT, which computes in float32: rounding grows
    hundredfold in each step of a net as small as this.
    """
    torch.manual_seed(0)
    model = build(
        segmentor=copy.deepcopy(segmentor), tvat=tvat, **options
    ).train()
    dtype = torch.float32 if tvat else torch.float64
    model.to(dtype)
    if speed:
        HOOKS.build(dict(type='SpeedHook', **speed)).before_train(
            SimpleNamespace(model=model)
        )
    optim = OptimWrapper(
        torch.optim.SGD(model.segmentor.parameters(), 0.05, momentum=0.9)
    )
    losses = []
    for model.iter in range(5):
        data = batch(model)
        for view in 'labeled', 'weak', 'strong':
            data['inputs'][view] = data['inputs'][view].to(dtype)
        terms = model(**data, mode='loss')
        losses.append(
            [
                terms[name].item()
                for name in ('sup.decode.loss_ce', 'unsup.loss')
            ]
        )
        optim.update_params(model.parse_losses(terms)[0])
        model.update_teacher()
    return torch.tensor(losses), model.state_dict()


@cache
def plain_steps(tvat):
    return five_steps(tvat=tvat and dict(type=tvat))


def assert_same(found, expected):
    """All weights, to a hundred thousandth of the largest of each tensor."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        torch.testing.assert_close(
            found[1][name], value, rtol=0, atol=1e-5 * value.abs().max().item()
        )


@pytest.mark.parametrize(
    'speed',
    [dict(channels_last=True), dict(compile=dict(backend='aot_eager'))],
)
def test_speed_hook_changes_no_number(speed):
    assert_same(five_steps(speed), plain_steps(None))
    torch.testing.assert_close(
        five_steps(speed, tvat=dict(type='TVAT'))[0],
        plain_steps('TVAT')[0],
        rtol=1e-3,
        atol=0,
    )


def test_speed_hook_does_what_it_says():
    model = build()
    compiled = []
    hook = HOOKS.build(
        dict(
            type='SpeedHook',
            channels_last=True,
            compile=dict(
                backend=lambda graph, _: (
                    compiled.append(graph) or graph.forward
                )
            ),
        )
    )
    hook.before_train(SimpleNamespace(model=model))
    for net in (model.segmentor, *model.teachers):
        assert net.backbone.layer1[0].conv1.weight.is_contiguous(
            memory_format=torch.channels_last
        )
    model.loss(**batch(model))
    assert len(compiled) >= 2  # in training and in eval


def test_the_student_is_one_graph():
    """Our tap in its head does not break it."""
    model = build().train()
    net, images = model.segmentor, batch(model)['inputs']['strong']
    found = torch._dynamo.explain(
        lambda x: net.decode_head(net.extract_feat(x))
    )(images)
    assert (found.graph_count, found.graph_break_count) == (1, 0), (
        found.break_reasons
    )


def test_checkpointed_activations_change_no_number():
    """Without BN, whose running statistics they would move twice."""
    segmentor = copy.deepcopy(STILL)
    segmentor.backbone.with_cp = True
    assert_same(five_steps(segmentor=segmentor), five_steps(segmentor=STILL))


def test_one_pass_is_two_without_bn():
    segmentor = dict(
        STILL,
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=32,
            in_index=2,
            channels=8,
            num_convs=1,
            num_classes=7,
            dropout_ratio=0.0,
            norm_cfg=dict(type='GN', num_groups=2),
            align_corners=True,
        ),
    )
    assert_same(
        five_steps(segmentor=segmentor, one_pass=True),
        five_steps(segmentor=segmentor, one_pass=False),
    )


def test_one_pass_perturbs_both_and_mixes_their_statistics():
    model = build(one_pass=True).train()
    seen = []
    model.tvat.register_forward_hook(
        lambda module, args, out: seen.append(out)
    )
    inputs = []
    model.segmentor.backbone.stem[0].register_forward_hook(
        lambda module, args, out: inputs.append(args[0])
    )
    data = batch(model)
    model.loss(**data)
    (perturbation,) = seen
    assert len(perturbation) == 4
    torch.testing.assert_close(
        perturbation.flatten(1).norm(dim=1), torch.full((4,), 2.0)
    )
    (images,) = inputs
    assert torch.equal(images[:2], data['inputs']['labeled'])


def test_one_pass_refuses_what_it_cannot_split():
    with pytest.raises(ValueError, match='data_preprocessor.size'):
        build(one_pass=True, data_preprocessor=dict(size_divisor=32))
    segmentor = copy.deepcopy(SEGMENTOR)
    segmentor.decode_head = dict(
        type='EncHead',
        in_channels=[16, 32, 64],
        in_index=(1, 2, 3),
        channels=16,
        num_codes=4,
        num_classes=7,
        loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    with pytest.raises(ValueError, match='EncHead'):
        build(segmentor=segmentor, one_pass=True)


def test_teachers_move_with_the_steps_of_accumulated_gradients():
    model = build(warmup_iters=0, teachers=dict(alternate_every=9)).train()
    model.set_schedule(99, 9, iters_per_update=2)
    optim = OptimWrapper(
        torch.optim.SGD(model.segmentor.parameters(), 0.05),
        accumulative_counts=2,
    )
    runner = SimpleNamespace(model=model, optim_wrapper=optim)
    hook = HOOKS.build(dict(type='TeacherEMAHook'))
    name = 'decode_head.conv_seg.weight'
    for runner.iter in range(4):
        hook.before_train_iter(runner, runner.iter)
        before = model.teachers[0].state_dict()[name].clone()
        terms = model.loss(**batch(model))
        optim.update_params(model.parse_losses(terms)[0])
        hook.after_train_iter(runner, runner.iter)
        after = model.teachers[0].state_dict()[name]
        if runner.iter % 2:
            student = model.segmentor.state_dict()[name]
            decay = (0.0, 0.5)[runner.iter // 2]  # of the first updates
            torch.testing.assert_close(
                after, decay * before + (1 - decay) * student
            )
            assert not torch.equal(after, before)
        else:
            assert torch.equal(after, before)


@pytest.mark.parametrize(
    'options, judges', [(dict(), (0, 1)), (dict(tvat_with='active'), (1,))]
)
def test_tvat_attacks_the_active_teacher_or_both(options, judges):
    model = build(teachers=dict(alternate_every=1), **options)
    model.iter = 1
    for i, teacher in enumerate(model.teachers):
        teacher.decode_head.cls_seg = lambda feat, i=i: feat[:, :7] * 10**i
    feat = torch.rand(2, 24, 9, 9)
    expected = sum(
        teacher.decode_head.sep_bottleneck(feat)[:, :7] * 10**i
        for i, teacher in enumerate(model.teachers)
        if i in judges
    )
    torch.testing.assert_close(model.decode(feat), expected / len(judges))


class ScaledOptimWrapper(OptimWrapper):
    """Scales its losses, as AmpOptimWrapper does on CUDA alone."""

    def backward(self, loss):
        super().backward(loss * 1024)

    def step(self):
        for param in self.optimizer.param_groups[0]['params']:
            param.grad.div_(1024)
        super().step()


@pytest.mark.parametrize('counts, amp', [(1, False), (2, False), (1, True)])
def test_a_warmup_that_keeps_one_graph_is_the_same(counts, amp):
    """To the bit: gradients of different networks meet nowhere."""

    def warm(ahead):
        torch.manual_seed(0)
        model = build(
            teachers=dict(init='independent'), warmup_iters=9
        ).train()
        optim = ScaledOptimWrapper(
            torch.optim.SGD(model.parameters(), 0.05, momentum=0.9),
            accumulative_counts=counts,
        )
        if ahead:
            model.backward = backward_with(optim)
        logs, name = [], 'decode_head.conv_seg.weight'
        before = model.teachers[1].get_parameter(name).clone()
        for model.iter in range(4):
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                terms = model.loss(**batch(model))
            assert {
                name
                for name, term in terms.items()
                if term.requires_grad and 'warm' in name
            } == (
                set()
                if ahead
                else {'warm1.decode.loss_ce', 'warm2.decode.loss_ce'}
            )
            total, log = model.parse_losses(terms)
            optim.update_params(total)
            logs.append({name: term.detach() for name, term in log.items()})
        assert optim._inner_count == 4
        assert not torch.equal(model.teachers[1].get_parameter(name), before)
        return logs, model.state_dict()

    found, expected = warm(True), warm(False)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
