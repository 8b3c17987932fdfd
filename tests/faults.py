"""What goes wrong in test_finite.py, on the ranks of a training, too."""
import math
from pathlib import Path

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmseg.registry import HOOKS, MODELS, TRANSFORMS

from mmseg_psmt.models import ConfCELoss


@MODELS.register_module()
class FaultyConfCELoss(ConfCELoss):
    """NaN in some calls, counted from 1, on one rank; its gradient is fine.

    Ranks have thresholds of their own.
    """

    def __init__(self, at, rank=0, thresholds=(0., 0.)):
        super().__init__(thresholds[get_rank()])
        self.at = at if get_rank() == rank else ()
        self.calls = 0

    def forward(self, *args):
        self.calls += 1
        loss = super().forward(*args)
        return loss + math.nan if self.calls in self.at else loss


@TRANSFORMS.register_module()
class BadPixel:
    """One pixel without sense, in the image with this stem."""

    def __init__(self, stem, value=math.nan):
        self.stem = stem
        self.value = value

    def __call__(self, results):
        if Path(results['img_path']).stem == self.stem:
            results['img'] = results['img'].astype(np.float32)
            results['img'][5, 7, 1] = self.value
        return results


@TRANSFORMS.register_module()
class NoLabel:
    """A mask without a labelled pixel."""

    def __call__(self, results):
        results['gt_seg_map'][:] = 255
        return results


@HOOKS.register_module()
class NaNGradientHook(Hook):
    """NaN in the gradient of one weight at some iterations, from 1."""

    def __init__(self, at):
        self.at = at

    def before_train(self, runner):
        weight = runner.model.segmentor.decode_head.conv_seg.weight
        weight.register_hook(lambda grad: grad * math.nan
                             if runner.iter + 1 in self.at else grad)
