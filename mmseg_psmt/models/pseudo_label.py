"""Pseudo labels: what two teachers say together, and how sure they are."""
from typing import Dict, Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def ensemble(core: Tensor,
             assist: Optional[Tensor] = None,
             topk: Optional[int] = None) -> Tensor:
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
    if topk is not None and topk < 1:
        raise ValueError(f'topk must be at least 1, got {topk}')
    if assist is None:
        return core
    if topk is not None and topk < core.size(1):
        spoken = assist.topk(topk, dim=1).indices
        assist = core.scatter(1, spoken, assist.gather(1, spoken))
    return (core + assist) / 2


@torch.no_grad()
def confidence_stats(logits: Tensor,
                     threshold: float,
                     valid: Tensor,
                     truth: Optional[Tensor] = None,
                     ignore_index: int = 255) -> Dict[str, Tensor]:
    """How many pixels are confident, and how many of those are right.

    Args:
        logits (Tensor): Teacher logits, shape (N, C, H, W).
        threshold (float): Least confidence.
        valid (Tensor): Bool mask without padding, shape (N, H, W).
        truth (Tensor, optional): Labels, shape (N, H, W), for the log only.
        ignore_index (int): Label without a truth.

    Returns:
        dict[str, Tensor]: ``counts`` (C + 1,), the confident pixels of each
        class and last the other valid ones. Scalars: ``confident``, a share
        of the valid pixels, and with ``truth`` also ``correct``, a share of
        the confident pixels that have a truth; 0 where there is none.
    """
    probs = F.softmax(logits.float(), dim=1)
    confidence = probs.amax(dim=1)
    kept = valid & (confidence >= threshold)
    votes = (probs == confidence.unsqueeze(1)) & kept.unsqueeze(1)
    rest = valid.sum() - kept.sum()
    stats = {
        'counts': torch.cat([votes.sum(dim=(0, 2, 3)), rest.view(1)]),
        'confident': kept.sum() / valid.sum().clamp(min=1)
    }
    if truth is not None:
        known = kept & (truth != ignore_index)
        label = truth.clamp(0, logits.size(1) - 1)
        chosen = probs.gather(1, label.unsqueeze(1)).squeeze(1) == confidence
        right = known & chosen & (label == truth)
        stats['correct'] = right.sum() / known.sum().clamp(min=1)
    return stats
