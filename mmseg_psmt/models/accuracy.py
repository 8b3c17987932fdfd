"""The pixel accuracy in the log without a wait for the device."""
from contextlib import contextmanager
from typing import Iterator, Optional

import torch
from mmseg.models.decode_heads import (
    ddr_head,
    decode_head,
    pid_head,
    point_head,
)
from torch import Tensor

HEADS = ddr_head, decode_head, pid_head, point_head  # that import it


def pixel_accuracy(pred: Tensor,
                   target: Tensor,
                   ignore_index: Optional[int] = None) -> Tensor:
    """What :func:`mmseg.models.losses.accuracy` says of the first class.

    That sorts the classes of each pixel and waits for the number of pixels.
    Here a pixel is right whose label has the highest logit, alone or not.

    Args:
        pred (Tensor): Logits, shape (N, C, H, W).
        target (Tensor): Labels, shape (N, H, W).
        ignore_index (int, optional): Label that does not count.

    Returns:
        Tensor: Percent, a scalar; 100 where no pixel counts.
    """
    known = target != (-1 if ignore_index is None else ignore_index)
    label = target.clamp(0, pred.size(1) - 1).unsqueeze(1)
    right = known & (pred.gather(1, label).squeeze(1) == pred.amax(dim=1))
    eps = torch.finfo(torch.float32).eps
    return 100 * (right.sum() + eps) / (known.sum() + eps)


@contextmanager
def quick_accuracy() -> Iterator[None]:
    """Context in which mmseg's decode heads log :func:`pixel_accuracy`."""
    stock = [head.accuracy for head in HEADS]
    for head in HEADS:
        head.accuracy = pixel_accuracy
    try:
        yield
    finally:
        for head, accuracy in zip(HEADS, stock):
            head.accuracy = accuracy
