"""CutMix of images and of the labels that teachers gave them before."""

from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from mmseg.registry import TRANSFORMS
from torch import Tensor

from ...options import (
    require_number,
    require_positive,
    require_range,
    require_whole,
)


def clipped_boxes(
    size: Sequence[int], area: float, num_boxes: int, rng: np.random.Generator
) -> Tensor:
    """Boxes around centers anywhere, clipped at the edges.

    Source: CutMix, arXiv 1905.04899. They have the aspect of the image.

    Args:
        size (Sequence[int]): Height and width in pixels.
        area (float): Share of the image that the boxes have together before
            they are clipped and overlap.
        num_boxes (int): Boxes.
        rng (np.random.Generator): Source of their places.

    Returns:
        Tensor: Bool mask (H, W), True inside a box.
    """
    mask = torch.zeros(*size, dtype=torch.bool)
    for _ in range(num_boxes):
        spans = []
        for length in size:
            extent = round(length * (area / num_boxes) ** 0.5)
            low = int(rng.integers(length)) - extent // 2
            spans.append(slice(max(low, 0), low + extent))
        mask[tuple(spans)] = True
    return mask


def inner_boxes(
    size: Sequence[int], area: float, num_boxes: int, rng: np.random.Generator
) -> Tensor:
    """Boxes of random aspect, wholly inside the image.

    Source: French et al., arXiv 1906.01916. Arguments and result are those of
    :func:`clipped_boxes`.
    """
    mask = torch.zeros(*size, dtype=torch.bool)
    for _ in range(num_boxes):
        tall = area ** rng.uniform()  # of one box that has the whole area
        h, w = (
            round(length * share / num_boxes**0.5)
            for length, share in zip(size, (tall, area / tall))
        )
        top = rng.integers(size[0] - h + 1)
        left = rng.integers(size[1] - w + 1)
        mask[top : top + h, left : left + w] = True
    return mask


@TRANSFORMS.register_module()
class TeacherGuidedCutMix:
    """Cut boxes from each image's neighbor in the batch, labels alike.

    The teachers see whole images; image and logits are then mixed with the
    same boxes, so that no label carries a seam (PS-MT, arXiv 2111.12903,
    sec. 3.3). The neighbor of a batch of one is its own mirror image.

    Args:
        num_boxes (int): Boxes per image. Defaults to 1.
        beta (float): The area is drawn from Beta(beta, beta). Defaults to 4.
        area (Sequence[float], optional): Draw the area uniformly from this
            range instead, and :func:`inner_boxes`; see :func:`clipped_boxes`
            for the others.
        prob (float): Share of images that are mixed. Defaults to 1.
    """

    def __init__(
        self,
        num_boxes: int = 1,
        beta: float = 4.0,
        area: Optional[Sequence[float]] = None,
        prob: float = 1.0,
    ):
        require_whole('num_boxes', num_boxes, 1)
        require_positive('beta', beta)
        if area is not None:
            require_range('area', area, most=1)
        require_number('prob', prob, 0, 1)
        self.num_boxes = num_boxes
        self.beta = beta
        self.area = area
        self.prob = prob

    def _mask(self, size: Sequence[int], rng: np.random.Generator) -> Tensor:
        if rng.uniform() >= self.prob:
            return torch.zeros(*size, dtype=torch.bool)
        if self.area is None:
            area = rng.beta(self.beta, self.beta)
            return clipped_boxes(size, area, self.num_boxes, rng)
        return inner_boxes(size, rng.uniform(*self.area), self.num_boxes, rng)

    def __call__(
        self,
        images: Tensor,
        logits: Tensor,
        valid: Tensor,
        rng: np.random.Generator,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Mix a batch.

        Args:
            images (Tensor): (N, 3, H, W).
            logits (Tensor): Of the same pixels, (N, C, H, W).
            valid (Tensor): Bool mask (N, H, W), False is padding.
            rng (np.random.Generator): Source of the boxes.

        Returns:
            tuple[Tensor, Tensor, Tensor]: New ``images``, ``logits`` and
            ``valid``.
        """
        size = images.shape[2:]
        mask = torch.stack([self._mask(size, rng) for _ in images])
        mask = mask.to(images.device, non_blocking=True)

        def mixed(x: Tensor) -> Tensor:
            partner = x.roll(1, 0) if len(x) > 1 else x.flip(-1)
            return torch.where(
                mask if x.ndim == 3 else mask[:, None], partner, x
            )

        return mixed(images), mixed(logits), mixed(valid)
