"""Between a plain transformer and the head of DPT."""

from typing import List, Sequence, Tuple

import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class DPTNeck(nn.Module):
    """Pairs of normalized map and token, as the head of DPT takes them.

    A backbone with maps as outputs has no class token left: the mean of the
    map stands for it. Every map is normalized, since backbones normalize the
    last of their taps at most; the projections of the head scale it.
    """

    def forward(self, maps: Sequence[Tensor]) -> List[Tuple[Tensor, Tensor]]:
        """Map (N, C, h, w) to pairs of (N, C, h, w) and (N, C)."""
        normed = [
            F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
            for x in maps
        ]
        return [(x, x.mean(dim=(2, 3))) for x in normed]
