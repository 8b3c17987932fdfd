"""The squared error of probabilities, which Conf-CE is compared with."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from .conf_ce_loss import masked


@MODELS.register_module()
class SoftmaxMSELoss(nn.Module):
    """Squared error of probabilities, the loss of Mean Teacher.

    Source: Tarvainen and Valpola, arXiv 1703.01780. Takes student logits and
    teacher logits, both (N, C, H, W), and a bool mask (N, H, W); returns a
    scalar, the mean over classes and valid pixels.
    """

    threshold = 0.0

    def forward(
        self, logits: Tensor, targets: Tensor, valid: Tensor
    ) -> Tensor:
        with torch.no_grad():
            probabilities = F.softmax(masked(targets.float(), valid), dim=1)
        logits = masked(logits.float(), valid)
        error = (F.softmax(logits, dim=1) - probabilities) ** 2
        return error.mean(dim=1).sum() / valid.sum().clamp(min=1)
