"""Labeled and unlabeled images in one pass of the student."""

from typing import Dict, Tuple

import torch
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import SampleList, add_prefix
from torch import Tensor


def splits_losses(segmentor: EncoderDecoder) -> bool:
    """Whether the losses can be split by images, as mmseg's own can."""
    return all(
        getattr(type(part), name, None) is getattr(base, name)
        for part, base, name in (
            (segmentor, EncoderDecoder, 'loss'),
            (segmentor, EncoderDecoder, '_decode_head_forward_train'),
            (segmentor.decode_head, BaseDecodeHead, 'loss'),
            (segmentor.decode_head, BaseDecodeHead, 'loss_by_feat'),
        )
    )


def check_one_pass(segmentor: EncoderDecoder) -> None:
    """Raise ValueError if the losses cannot be split by images."""
    if not splits_losses(segmentor):
        raise ValueError(
            f'model.one_pass=True does not suit {type(segmentor).__name__} '
            f'with {type(segmentor.decode_head).__name__}, one of which has '
            'a training pass of its own: leave it out'
        )


def one_pass(
    segmentor: EncoderDecoder,
    labeled: Tensor,
    samples: SampleList,
    unlabeled: Tensor,
) -> Tuple[Dict[str, Tensor], Tensor]:
    """Losses of labeled images, and logits of unlabeled ones.

    BN sees both as one batch: its statistics are those of the mixture, and
    the running ones move once instead of twice.

    Args:
        segmentor (EncoderDecoder): The student.
        labeled (Tensor): Images (N, 3, H, W).
        samples (SampleList): Their labels.
        unlabeled (Tensor): Images (M, 3, H, W).

    Returns:
        tuple: The losses, and logits (M, K, h, w).
    """
    num = len(labeled)
    feats = segmentor.extract_feat(torch.cat([labeled, unlabeled]))
    logits = segmentor.decode_head.forward(feats)
    losses = add_prefix(
        segmentor.decode_head.loss_by_feat(logits[:num], samples), 'decode'
    )
    if segmentor.with_auxiliary_head:
        losses.update(
            segmentor._auxiliary_head_forward_train(
                [feat[:num] for feat in feats], samples
            )
        )
    return losses, logits[num:]
