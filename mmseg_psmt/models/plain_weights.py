"""What a checkpoint holds, against the nets that a model has."""

import logging
import re
from typing import Any, Dict, Iterator, List

import torch.nn as nn
from mmengine.logging import print_log

# Not needed to predict, or not there in older checkpoints.
_OPTIONAL = re.compile(r'(^|\.)(auxiliary_head|loss_\w+)\.')


def spread_plain_weights(
    model: nn.Module, state_dict: dict, prefix: str, *args: Any
) -> None:
    """Before loading, give every net of PSMT the weights that there are.

    A plain segmentor goes into student and teachers alike. Of a checkpoint
    with fewer teachers, the others begin as copies of the first, or of the
    student; what the model has no net for is left out. Each of the latter is
    a warning. Nets that share the student's frozen backbone take its weights.
    A hook for ``register_load_state_dict_pre_hook``.

    Args:
        model (nn.Module): With ``segmentor`` and ``teachers``.
        state_dict (dict): Changed in place: ``backbone.x`` becomes
            ``segmentor.backbone.x``, ``teachers.0.backbone.x`` and so on.
        prefix (str): Of the names that belong to ``model``.
        *args: What else such hooks are given.
    """
    for message in _spread(model, state_dict, prefix):
        print_log(message, logger='current', level=logging.WARNING)


def _spread(model: nn.Module, state_dict: dict, prefix: str) -> Iterator[str]:
    """What :func:`spread_plain_weights` does, and its warnings."""
    nets = [
        'segmentor',
        *(f'teachers.{i}' for i in range(len(model.teachers))),
    ]
    found = _by_net(state_dict, prefix)
    if not found:
        parts = dict(model.segmentor.named_children())
        for key in [
            key
            for key in state_dict
            if key.startswith(prefix)
            and key.removeprefix(prefix).split('.')[0] in parts
        ]:
            value, name = state_dict.pop(key), key.removeprefix(prefix)
            state_dict.update({f'{prefix}{net}.{name}': value for net in nets})
        return
    for net in nets:
        if net not in found:
            twin = next(
                name
                for name in ('teachers.0', 'segmentor', *found)
                if name in found
            )
            for key in found[twin]:
                name = key.removeprefix(f'{prefix}{twin}.')
                state_dict[f'{prefix}{net}.{name}'] = state_dict[key]
            yield (
                f'The checkpoint has no weights of {net}, which begins as '
                f'a copy of its {twin}'
            )
    for net in found.keys() - nets:
        for key in found[net]:
            del state_dict[key]
        yield (
            f'The checkpoint has weights of {net}, the model has no such '
            'net: they are left out'
        )
    if getattr(model, 'freeze_backbone', False):
        own = f'{prefix}segmentor.backbone.'
        for key in [key for key in state_dict if key.startswith(own)]:
            for net in nets[1:]:
                name = f'{prefix}{net}.backbone.{key.removeprefix(own)}'
                state_dict[name] = state_dict[key]


def _by_net(state_dict: dict, prefix: str) -> Dict[str, List[str]]:
    """Names of the weights of each net of PSMT."""
    pattern = re.compile(re.escape(prefix) + r'(segmentor|teachers\.\d+)\.')
    found: Dict[str, List[str]] = {}
    for key in state_dict:
        match = pattern.match(key)
        if match:
            found.setdefault(match[1], []).append(key)
    return found


def lacking_weights(model: nn.Module, state_dict: dict) -> Dict[str, str]:
    """Weights of a model that a checkpoint leaves random.

    Auxiliary heads and losses do not count: nothing is predicted with them.

    Args:
        model (nn.Module): Any, also of mmseg.
        state_dict (dict): Of the checkpoint.

    Returns:
        dict[str, str]: Their names, and why the checkpoint has none for them.
    """
    given = {
        re.sub(r'^module\.', '', name): value
        for name, value in state_dict.items()
    }
    if hasattr(model, 'teachers'):
        [*_spread(model, given, '')]
    lacking = {}
    for name, param in _wanted(model).items():
        shape = tuple(param.shape)
        if name not in given:
            lacking[name] = 'is not in it'
        elif tuple(given[name].shape) != shape:
            there = tuple(given[name].shape)
            lacking[name] = f'is {there} there, {shape} in the model'
    return lacking


def _wanted(model: nn.Module) -> Dict[str, nn.Parameter]:
    """Weights that a checkpoint must have."""
    semi = hasattr(model, 'teachers')
    return {
        name: param
        for name, param in model.named_parameters()
        if not _OPTIONAL.search(name) and (semi or param.requires_grad)
    }  # others have an init_cfg


def require_weights(
    model: nn.Module, state_dict: dict, source: str, all_of_them: bool
) -> None:
    """Refuse a checkpoint that leaves weights of a model random.

    mmengine logs what is missing, and goes on. See :func:`lacking_weights`.

    Args:
        model (nn.Module): Any, also of mmseg.
        state_dict (dict): Of the checkpoint.
        source (str): Its file, for the message.
        all_of_them (bool): Whether the model needs all of its weights, as
            for a test, or some, as to begin a training.

    Raises:
        ValueError: If they are not there, or have other shapes.
    """
    lacking, wanted = lacking_weights(model, state_dict), _wanted(model)
    if not lacking or not (all_of_them or len(lacking) == len(wanted)):
        return
    own = any(re.match(r'(module\.)?segmentor\.', key) for key in state_dict)
    if own and not hasattr(model, 'teachers'):
        remedy = (
            'it is a checkpoint of PS-MT: give the config of PS-MT, or '
            f'its plain model, from tools/export.py {source} OUT.pth'
        )
    elif all_of_them:
        remedy = 'give the config that it was trained with'
    else:
        remedy = (
            'give a checkpoint of such a model; the weights of a '
            "backbone alone are its init_cfg=dict(type='Pretrained', "
            'checkpoint=...)'
        )
    first, why = next(iter(lacking.items()))
    raise ValueError(
        f'{source} leaves {len(lacking)} of {len(wanted)} weights of the '
        f'model random, for {first} {why}: {remedy}'
    )
