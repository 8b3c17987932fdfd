"""Pseudo labels: what two teachers say together, and how sure they are."""

from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options import require_whole


def ensemble(
    core: Tensor, assist: Optional[Tensor] = None, topk: Optional[int] = None
) -> Tensor:
    """Mean of both teachers' logits.

    Args:
        core (Tensor): Logits of the active teacher, shape (N, C, H, W).
        assist (Tensor, optional): Logits of the inactive one, same shape.
            None returns ``core``.
        topk (int, optional): The assisting teacher speaks for its ``topk``
            highest classes of each pixel only; elsewhere it repeats
            ``core``. None, or at least C, keeps all of them.

    Returns:
        Tensor: Logits, shape (N, C, H, W).

    Raises:
        ValueError: If ``topk`` is below 1.
    """
    if topk is not None:
        require_whole('topk', topk, 1)
    if assist is None:
        return core
    if topk is not None and topk < core.size(1):
        spoken = assist.topk(topk, dim=1).indices
        assist = core.scatter(1, spoken, assist.gather(1, spoken))
    return (core + assist) / 2


@torch.no_grad()
def confident_pixels(
    logits: Tensor, threshold: float, valid: Tensor, per_class: bool = False
) -> Tuple[Tensor, Tensor, Tensor]:
    """Pseudo labels, and which of them are confident.

    Args:
        logits (Tensor): Teacher logits, shape (N, C, H, W).
        threshold (float): Least confidence.
        valid (Tensor): Bool mask without padding, shape (N, H, W).
        per_class (bool): Lower the threshold of each class by the ratio of
            its mean confidence in the batch to that of the surest class, as
            the local thresholds of FreeMatch (Wang et al., arXiv 2205.07246)
            are. One threshold for all leaves classes that are learned late
            out of the pseudo labels, and the others take over their pixels.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Confidence, label and the bool mask of
        the confident valid pixels, each (N, H, W).
    """
    confidence, label = F.softmax(logits.float(), dim=1).max(dim=1)
    least = threshold
    if per_class:
        zeros = confidence.new_zeros(logits.size(1))
        index = label.flatten()
        total = zeros.index_add(
            0, index, torch.where(valid, confidence, 0.0).flatten()
        )
        count = zeros.index_add(0, index, valid.flatten().to(zeros.dtype))
        mean = total / count.clamp(min=1)
        tiny = torch.finfo(mean.dtype).tiny
        least = threshold * (mean / mean.max().clamp(min=tiny))[label]
    return confidence, label, valid & (confidence >= least)


@torch.no_grad()
def confidence_stats(
    logits: Tensor,
    threshold: float,
    valid: Tensor,
    truth: Optional[Tensor] = None,
    ignore_index: int = 255,
    per_class: bool = False,
) -> Dict[str, Tensor]:
    """How many pixels are confident, and how many of those are right.

    Args:
        logits (Tensor): Teacher logits, shape (N, C, H, W).
        threshold (float): Least confidence.
        valid (Tensor): Bool mask without padding, shape (N, H, W).
        truth (Tensor, optional): Labels, shape (N, H, W), for the log only.
        ignore_index (int): Label without a truth.
        per_class (bool): See :func:`confident_pixels`.

    Returns:
        dict[str, Tensor]: ``counts`` (2, C), the valid pixels of each class,
        first the confident ones, then the others. Scalars: ``confident``, a
        share of the valid pixels, and with ``truth`` also ``correct``, a
        share of the confident pixels that have a truth; 0 where there is
        none.
    """
    _, label, kept = confident_pixels(logits, threshold, valid, per_class)
    # By rows, so that pixels share fewer cells. bincount waits for the device.
    num = logits.size(1)
    rows = (label + num * ~kept).flatten(0, 1)
    counts = rows.new_zeros(len(rows), 2 * num)
    counts = counts.scatter_add(1, rows, valid.flatten(0, 1).long())
    counts = counts.sum(0).view(2, num)
    stats = {
        'counts': counts,
        'confident': counts[0].sum() / counts.sum().clamp(min=1),
    }
    if truth is not None:
        known = kept & (truth < num) & (truth != ignore_index)
        right = known & (label == truth)
        stats['correct'] = right.sum() / known.sum().clamp(min=1)
    return stats
