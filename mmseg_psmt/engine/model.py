"""What the hooks do with the model of a runner."""

from typing import Callable

import torch
import torch.nn as nn
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor


def unwrap(runner: Runner) -> nn.Module:
    """The model without its distributed wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def backward_with(optim_wrapper: OptimWrapper) -> Callable[[Tensor], None]:
    """Backward pass of a part of an iteration's loss, ahead of the rest.

    Scales of AMP and of accumulated gradients are those of the rest.

    Args:
        optim_wrapper (OptimWrapper): Takes the rest, and makes the step.

    Returns:
        Callable: Takes a scalar loss and adds to the gradients.
    """

    def backward(loss: Tensor) -> None:
        with torch.autocast(loss.device.type, enabled=False):
            optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        optim_wrapper._inner_count -= 1  # only the rest is an iteration

    return backward
