"""Zoom of images and of the labels that teachers gave them before."""

from typing import Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.registry import TRANSFORMS
from torch import Tensor

from ...options import require_number, require_range


@TRANSFORMS.register_module()
class RandomZoom:
    """Zoom each image and its teacher logits in or out, at a random place.

    Args:
        scale (Sequence[float]): Range of the factor; above 1 shows a part
            enlarged, below 1 the whole diminished, with nothing valid around
            it. Defaults to (0.5, 2.0).
        prob (float): Share of images that are zoomed. Defaults to 0.5.
    """

    def __init__(self, scale: Sequence[float] = (0.5, 2.0), prob: float = 0.5):
        require_range('scale', scale)
        require_number('prob', prob, 0, 1)
        self.scale = scale
        self.prob = prob

    def __call__(
        self,
        images: Tensor,
        logits: Tensor,
        valid: Tensor,
        rng: np.random.Generator,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Zoom a batch; see :class:`TeacherGuidedCutMix` for the arguments."""
        theta = torch.zeros(len(images), 2, 3)
        for matrix in theta:
            extent = 1.0
            if rng.uniform() < self.prob:
                extent = 1 / rng.uniform(*self.scale)
            room = abs(1 - extent)
            matrix[0, 0] = matrix[1, 1] = extent
            matrix[0, 2] = rng.uniform(-room, room)
            matrix[1, 2] = rng.uniform(-room, room)
        grid = F.affine_grid(
            theta, [len(images), 1, *images.shape[2:]], align_corners=False
        ).to(images.device, non_blocking=True)

        def zoomed(x: Tensor) -> Tensor:
            # 'border': zeros would make the outermost valid pixels unsure
            return F.grid_sample(
                x.to(grid.dtype),
                grid,
                padding_mode='border',
                align_corners=False,
            )

        inside = (
            F.grid_sample(
                torch.ones_like(valid[:, None], dtype=grid.dtype),
                grid,
                mode='nearest',
                align_corners=False,
            )[:, 0]
            > 0.5
        )
        inside &= zoomed(~valid[:, None])[:, 0] < 1e-3  # nearly no blend
        logits = torch.where(
            valid[:, None] | logits.isfinite(),
            logits,
            torch.zeros_like(logits),
        )  # NaN * 0 is no 0
        return zoomed(images), zoomed(logits), inside
