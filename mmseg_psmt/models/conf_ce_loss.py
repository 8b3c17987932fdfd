"""Conf-CE: cross-entropy weighted by the teachers' confidence."""
from math import inf
from numbers import Real
from typing import Optional, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

THRESHOLD = 0.9  # of the losses that learn from confident pseudo labels


def masked(values: Tensor, counted: Tensor) -> Tensor:
    """Values (N, ...) or (N, C, ...) with 0 where a mask (N, ...) is False.

    What does not count may be NaN or infinite. It must be gone before the
    loss is computed: to leave it out afterwards makes its gradient 0 * NaN.
    """
    if values.dim() > counted.dim():
        counted = counted.unsqueeze(1)
    return torch.where(counted, values, torch.zeros_like(values))


def average_over(values: Tensor,
                 counted: Tensor,
                 among: Tensor,
                 weight: Optional[Tensor] = None) -> Tensor:
    """Sum of ``values`` where ``counted`` over the number of ``among``.

    Args:
        values (Tensor): Any shape.
        counted (Tensor): Bool mask of that shape.
        among (Tensor): Bool mask of that shape.
        weight (Tensor, optional): How much each counts, in both, of that
            shape. None counts all alike.

    Returns:
        Tensor: Scalar; 0 where ``among`` is empty.
    """
    weight = torch.ones_like(values) if weight is None else weight
    total = masked(weight * values, counted).sum()
    return total / masked(weight, among).sum().clamp(
        min=torch.finfo(values.dtype).tiny)


def _check(threshold: float, reduction: str) -> None:
    if not (isinstance(threshold, Real) and 0 <= threshold <= 1):
        raise ValueError(
            f'threshold is a probability in [0, 1], got {threshold!r}')
    if reduction not in ('kept', 'valid'):
        raise ValueError(
            f"reduction must be 'kept' or 'valid', got {reduction!r}")


def conf_ce(logits: Tensor,
            targets: Tensor,
            threshold: float = THRESHOLD,
            valid: Optional[Tensor] = None,
            reduction: str = 'valid',
            class_weight: Optional[Tensor] = None) -> Tensor:
    """Confidence-weighted cross-entropy of PS-MT (arXiv 2111.12903, sec. 3.2).

    With ``c = max softmax(targets)``, a pixel with ``c >= threshold`` costs
    ``c * CE(logits, argmax targets)`` and any other pixel costs nothing.

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
        class_weight (Tensor, optional): How much a pixel of each pseudo
            label counts, shape (C, ). The average is weighted, too, as in
            :class:`mmseg.models.CrossEntropyLoss`.

    Returns:
        Tensor: Scalar. Exactly 0, with a graph, where no pixel counts.

    Raises:
        ValueError: On a threshold outside [0, 1], an unknown reduction, or
            weights of another number of classes.
    """
    _check(threshold, reduction)
    if class_weight is not None and len(class_weight) != logits.size(1):
        raise ValueError(
            f'class_weight has {len(class_weight)} weights for '
            f'{logits.size(1)} classes')
    with torch.no_grad():
        confidence, label = F.softmax(targets.float(), dim=1).max(dim=1)
        if valid is None:
            valid = torch.ones_like(label, dtype=torch.bool)
        kept = valid & (confidence >= threshold)
        weight = None if class_weight is None else class_weight[label]
        confidence = masked(confidence, kept)
    loss = confidence * F.cross_entropy(
        masked(logits.float(), kept), label, reduction='none')
    return average_over(loss, kept, kept if reduction == 'kept' else valid,
                        weight)


@MODELS.register_module()
class ConfCELoss(nn.Module):
    """:func:`conf_ce` with its numbers.

    Args:
        threshold (float): Least confidence of a pixel that counts, in
            [0, 1]. Defaults to 0.9; the paper has 0.6, at which a class
            that the teachers hardly know yet is learned away.
        reduction (str): 'kept' or 'valid'. Defaults to 'valid', with which
            few confident pixels weigh little.
        class_weight (Sequence[float], optional): Of each class. Defaults to
            all alike, which was better on CamVid (docs/results.md).
    """

    def __init__(self,
                 threshold: float = THRESHOLD,
                 reduction: str = 'valid',
                 class_weight: Optional[Sequence[float]] = None):
        super().__init__()
        _check(threshold, reduction)
        if class_weight is not None:
            if not (isinstance(class_weight, Sequence) and all(
                    isinstance(x, Real) and 0 < x < inf
                    for x in class_weight)):
                raise ValueError('class_weight must be a list of weights '
                                 f'above 0, got {class_weight!r}')
            class_weight = torch.tensor(class_weight, dtype=torch.float32)
        self.threshold = threshold
        self.reduction = reduction
        self.register_buffer('class_weight', class_weight, persistent=False)

    def forward(self,
                logits: Tensor,
                targets: Tensor,
                valid: Optional[Tensor] = None) -> Tensor:
        return conf_ce(logits, targets, self.threshold, valid, self.reduction,
                       self.class_weight)
