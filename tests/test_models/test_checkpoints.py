"""A checkpoint is compared with the model that it is loaded into."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner, load_checkpoint
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from test_psmt import SEGMENTOR, build

from mmseg_psmt.engine.hooks.teacher_ema_hook import TeacherEMAHook
from mmseg_psmt.launch import fitting_backbones, whole_checkpoints
from mmseg_psmt.models.plain_weights import require_weights


@pytest.fixture()
def words():
    """Warnings of mmengine."""
    logger, said = MMLogger.get_current_instance(), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    yield said
    logger.removeHandler(handler)


def numbered(model):
    """Weights of a model in which each net has a number of its own."""
    state = copy.deepcopy(model.state_dict())
    for number, net in enumerate(('segmentor', 'teachers.0', 'teachers.1')):
        for name in state:
            if name.startswith(f'{net}.'):
                state[name].fill_(number)
    return state


def numbers(model):
    """The number of each net; all of its weights must have it."""
    found = {
        name: {
            float(value)
            for tensor in net.state_dict().values()
            for value in tensor.unique()
        }
        for name, net in [
            ('segmentor', model.segmentor),
            *((f'teachers.{i}', net) for i, net in enumerate(model.teachers)),
        ]
    }
    assert all(len(values) == 1 for values in found.values()), found
    return [values.pop() for values in found.values()]


@pytest.mark.parametrize(
    'held, expected, said',
    [
        (('segmentor', 'teachers.0', 'teachers.1'), [0, 1, 2], []),
        (('segmentor', 'teachers.0'), [0, 1, 1], ['teachers.1']),
        (('segmentor',), [0, 0, 0], ['teachers.0', 'teachers.1']),
        (('teachers.0', 'teachers.1'), [1, 1, 2], ['segmentor']),
        (('teachers.1',), [2, 2, 2], ['segmentor', 'teachers.0']),
    ],
)
def test_no_net_stays_random(held, expected, said, tmp_path, words):
    model = build()
    torch.save(
        dict(
            state_dict={
                name: value
                for name, value in numbered(model).items()
                if name.startswith(held)
            }
        ),
        tmp_path / 'some.pth',
    )
    load_checkpoint(model, str(tmp_path / 'some.pth'), strict=True)
    assert numbers(model) == expected
    assert [
        f'no weights of {net}' in word for net, word in zip(said, words)
    ] == [True] * len(words)
    assert len(words) == len(said)


def test_a_net_that_the_model_has_not_is_left_out(tmp_path, words):
    torch.save(dict(state_dict=numbered(build())), tmp_path / 'two.pth')
    model = build(teachers=dict(num=1))
    load_checkpoint(model, str(tmp_path / 'two.pth'), strict=True)
    assert numbers(model) == [0, 1]
    assert len(words) == 1 and 'teachers.1' in words[0]


def test_a_frozen_backbone_is_that_of_the_student(tmp_path, words):
    torch.save(dict(state_dict=numbered(build())), tmp_path / 'own.pth')
    model = build(freeze_backbone=True)
    load_checkpoint(model, str(tmp_path / 'own.pth'), strict=True)
    backbone = model.segmentor.backbone.state_dict().values()
    assert not any(value.any() for value in backbone)
    heads = [net.decode_head for net in (model.segmentor, *model.teachers)]
    assert [head.conv_seg.bias[0].item() for head in heads] == [0, 1, 2]
    assert not words


@pytest.mark.parametrize(
    'change, random',
    [
        ({}, ''),
        # of the backbone alone, of other classes, of the auxiliary head
        ({'decode_head.': None}, 'is not in it'),
        ({'decode_head.conv_seg.bias': torch.zeros(19)}, '(19,) there'),
        ({'auxiliary_head.': None}, ''),
    ],
)
@pytest.mark.parametrize('own', [True, False])
def test_the_warm_up_stays_where_the_head_is_random(own, change, random):
    model = build()
    state = (model if own else model.segmentor).state_dict()
    for part, value in change.items():
        for name in [name for name in state if part in name]:
            state.pop(name) if value is None else state.update({name: value})
    hook, said = TeacherEMAHook(), []
    runner = SimpleNamespace(
        model=model,
        cfg={},
        _resume=False,
        logger=SimpleNamespace(warning=said.append),
    )
    hook.after_load_checkpoint(runner, dict(state_dict=state))
    assert hook.trained == (not random)
    assert len(said) == bool(random)
    assert random in ''.join(said)


def plain(**changes):
    cfg = copy.deepcopy(SEGMENTOR)
    for key, value in changes.items():
        part, _, name = key.partition('.')
        cfg[part][name] = value
    return MODELS.build(cfg)


def test_weights_of_another_kind_are_refused_with_what_to_do():
    semi = build().state_dict()
    with pytest.raises(ValueError, match='of PS-MT.*tools/export.py my.pth'):
        require_weights(plain(), semi, 'my.pth', True)
    with pytest.raises(ValueError, match='of PS-MT'):
        require_weights(plain(), semi, 'my.pth', False)
    narrow = plain(**{'backbone.base_channels': 4})
    with pytest.raises(ValueError, match='give the config that it was'):
        require_weights(narrow, plain().state_dict(), 'my.pth', True)
    backbone = plain().backbone.state_dict()
    with pytest.raises(ValueError, match="init_cfg=dict.type='Pretrained'"):
        require_weights(plain(), backbone, 'my.pth', False)
    one = {
        name: value
        for name, value in plain().state_dict().items()
        if name != 'decode_head.conv_seg.bias'
    }
    with pytest.raises(ValueError, match='1 of .*conv_seg.bias is not in it'):
        require_weights(plain(), one, 'my.pth', True)
    with pytest.raises(ValueError, match='3 of '):  # of each net
        require_weights(build(), one, 'my.pth', True)


def test_what_suits_is_not_refused():
    semi, alone = build(), plain()
    for all_of_them in (True, False):
        require_weights(semi, semi.state_dict(), '', all_of_them)
        require_weights(semi, alone.state_dict(), '', all_of_them)
        require_weights(alone, alone.state_dict(), '', all_of_them)
        require_weights(
            alone,
            {
                f'module.{name}': value
                for name, value in alone.state_dict().items()
            },
            '',
            all_of_them,
        )
    # fine-tuning with other classes
    other = plain(**{'decode_head.num_classes': 3})
    require_weights(other, alone.state_dict(), '', False)
    # an auxiliary head is not tested
    cfg = copy.deepcopy(SEGMENTOR)
    cfg.auxiliary_head = dict(
        type='FCNHead', in_channels=32, in_index=2, channels=4, num_classes=7
    )
    with_auxiliary = MODELS.build(cfg)
    require_weights(with_auxiliary, alone.state_dict(), '', True)
    # what is frozen came from elsewhere
    alone.backbone.requires_grad_(False)
    require_weights(
        alone,
        {
            name: value
            for name, value in alone.state_dict().items()
            if not name.startswith('backbone')
        },
        '',
        True,
    )


@pytest.mark.parametrize(
    'tested, resumed, refused',
    [(True, False, True), (False, True, True), (False, False, False)],
)
def test_runners_of_the_tools_compare(tmp_path, tested, resumed, refused):
    """A head of other classes: to begin with, not to test or resume."""
    torch.save(dict(state_dict=plain().state_dict()), tmp_path / 'my.pth')
    tta = MODELS.build(
        dict(
            type='SegTTAModel', module=plain(**{'decode_head.num_classes': 3})
        )
    )
    runner = SimpleNamespace(
        model=tta,
        _resume=resumed,
        call_hook=lambda *args, **kwargs: None,
        logger=SimpleNamespace(info=print),
    )
    stock = Runner.load_checkpoint
    with whole_checkpoints(tested):
        if refused:
            with pytest.raises(ValueError, match='my.pth leaves .*conv_seg'):
                Runner.load_checkpoint(runner, str(tmp_path / 'my.pth'))
        else:
            Runner.load_checkpoint(runner, str(tmp_path / 'my.pth'))
    assert Runner.load_checkpoint is stock


@pytest.mark.parametrize('fits', [True, False])
def test_tools_are_as_strict_with_plain_segmentors(tmp_path, fits):
    weights = plain().backbone.state_dict()
    if not fits:
        weights = {f'backbone.{name}': x for name, x in weights.items()}
    torch.save(weights, tmp_path / 'net.pth')
    model = plain()
    model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'net.pth')
    )
    stock = EncoderDecoder.init_weights
    with fitting_backbones():
        if fits:
            model.init_weights()
        else:
            with pytest.raises(ValueError, match='net.pth does not fit'):
                model.init_weights()
    assert EncoderDecoder.init_weights is stock
    if fits:
        for name, value in model.backbone.state_dict().items():
            assert torch.equal(value, weights[name]), name
