"""Lets a checkpoint of a plain segmentor initialise every net of PSMT."""
from typing import Any

import torch.nn as nn


def spread_plain_weights(model: nn.Module, state_dict: dict, prefix: str,
                         *args: Any) -> None:
    """Before loading, give plain weights to student and teachers alike.

    A hook for ``register_load_state_dict_pre_hook``. It leaves a checkpoint
    of PSMT alone.

    Args:
        model (nn.Module): With ``segmentor`` and ``teachers``.
        state_dict (dict): Changed in place: ``backbone.x`` becomes
            ``segmentor.backbone.x``, ``teachers.0.backbone.x`` and so on.
        prefix (str): Of the names that belong to ``model``.
        *args: What else such hooks are given.
    """
    parts = dict(model.segmentor.named_children())
    first = {
        key: key.removeprefix(prefix).split('.')[0]
        for key in state_dict if key.startswith(prefix)
    }
    if {'segmentor', 'teachers'} & {*first.values()}:
        return
    teachers = [f'teachers.{i}' for i in range(len(model.teachers))]
    for key in [key for key, part in first.items() if part in parts]:
        value = state_dict.pop(key)
        for net in ('segmentor', *teachers):
            state_dict[f'{prefix}{net}.{key.removeprefix(prefix)}'] = value
