"""Conf-CE: cross-entropy weighted by the teachers' confidence."""

from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ..options import require, require_number
from .pseudo_label import confident_pixels

THRESHOLD = 0.9  # of the losses that learn from confident pseudo labels


def masked(values: Tensor, counted: Tensor) -> Tensor:
    """Values (N, ...) or (N, C, ...) with 0 where a mask (N, ...) is False.

    What does not count may be NaN or infinite. It must be gone before the
    loss is computed: to leave it out afterwards makes its gradient 0 * NaN.
    """
    if values.dim() > counted.dim():
        counted = counted.unsqueeze(1)
    return torch.where(counted, values, torch.zeros_like(values))


def _check(threshold: float, reduction: str, per_class: bool) -> None:
    require_number('threshold', threshold, 0, 1)
    require(
        'reduction',
        reduction,
        "'kept' or 'valid'",
        lambda x: x in ('kept', 'valid'),
    )
    require(
        'per_class', per_class, 'True or False', lambda x: x in (True, False)
    )


def conf_ce(
    logits: Tensor,
    targets: Tensor,
    threshold: float = THRESHOLD,
    valid: Optional[Tensor] = None,
    reduction: str = 'valid',
    per_class: bool = True,
) -> Tensor:
    """Confidence-weighted cross-entropy of PS-MT (arXiv 2111.12903, sec. 3.2).

    With ``c = max softmax(targets)``, a pixel with ``c >= threshold`` costs
    ``c * CE(logits, argmax targets)`` and any other pixel costs nothing.
    ``per_class=False`` is the paper's.

    Args:
        logits (Tensor): Student logits, shape (N, C, H, W).
        targets (Tensor): Teacher logits, shape (N, C, H, W). They get no
            gradient.
        threshold (float): Least confidence of a pixel that counts.
        valid (Tensor, optional): Bool mask, shape (N, H, W); False is
            padding and never counts. None takes every pixel.
        reduction (str): 'kept' averages over the confident valid pixels, as
            the released code does; 'valid' over all valid pixels, as the
            formula of the paper does.
        per_class (bool): See :func:`confident_pixels`.

    Returns:
        Tensor: Scalar. Exactly 0, with a graph, where no pixel counts.

    Raises:
        ValueError: On a threshold outside [0, 1], an unknown reduction, or a
            ``per_class`` that is no bool.
    """
    _check(threshold, reduction, per_class)
    with torch.no_grad():
        if valid is None:
            valid = torch.ones_like(targets[:, 0], dtype=torch.bool)
        confidence, label, kept = confident_pixels(
            targets, threshold, valid, per_class
        )
        confidence = masked(confidence, kept)
    loss = confidence * F.cross_entropy(
        masked(logits.float(), kept), label, reduction='none'
    )
    among = kept if reduction == 'kept' else valid
    return loss.sum() / among.sum().clamp(min=1)


@MODELS.register_module()
class ConfCELoss(nn.Module):
    """:func:`conf_ce` with its options.

    Args:
        threshold (float): Least confidence of a pixel that counts, in
            [0, 1]. Defaults to 0.9; the paper has 0.6, at which a class
            that the teachers hardly know yet is learned away.
        reduction (str): 'kept' or 'valid'. Defaults to 'valid', with which
            few confident pixels weigh little.
        per_class (bool): Whether classes that the teachers are less sure of
            have a lower threshold, see :func:`confident_pixels`. Defaults to
            True; the paper has one for all.
    """

    def __init__(
        self,
        threshold: float = THRESHOLD,
        reduction: str = 'valid',
        per_class: bool = True,
    ):
        super().__init__()
        _check(threshold, reduction, per_class)
        self.per_class = per_class
        self.threshold = threshold
        self.reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, valid: Optional[Tensor] = None
    ) -> Tensor:
        return conf_ce(
            logits,
            targets,
            self.threshold,
            valid,
            self.reduction,
            self.per_class,
        )
