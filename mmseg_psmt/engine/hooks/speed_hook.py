"""Faster arithmetic, where the hardware has it."""

from typing import Union

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.models import EncoderDecoder
from mmseg.registry import HOOKS

from ..model import unwrap


@HOOKS.register_module()
class SpeedHook(Hook):
    """Set what speeds a training up and has no place in a config of mmseg.

    Works with any model of mmseg. Autocast is mmengine's
    ``AmpOptimWrapper``.

    Args:
        channels_last (bool): Keep the weights of convolutions, and thereby
            images and features, in ``torch.channels_last``. Not to be
            changed at a resume with a fused optimizer on CPU, which then
            pairs weights with the moments of others. Defaults to False.
        compile (bool | dict): Whether to compile the backbones, or options
            of ``torch.compile``. Checkpoints stay as they are. Defaults to
            False.
    """

    def __init__(
        self, channels_last: bool = False, compile: Union[bool, dict] = False
    ):
        self.channels_last = channels_last
        self.compile = compile

    def before_train(self, runner: Runner) -> None:
        self.hasten(unwrap(runner))

    def hasten(self, model: torch.nn.Module) -> None:
        """Change the layout of a model and compile its backbones."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile is not False:
            options = {} if self.compile is True else self.compile
            for net in model.modules():
                if isinstance(net, EncoderDecoder):
                    net.backbone.compile(**options)
