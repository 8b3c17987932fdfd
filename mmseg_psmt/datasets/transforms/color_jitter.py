"""Brightness, contrast, saturation and hue in random order."""
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...options import require_number
from ...stack import adjust_hue


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Jitter the colours of ``img`` (uint8, H x W x 3).

    Factors are drawn from ``[max(0, 1 - x), 1 + x]`` and the turn of the hue
    from ``[-hue, hue]`` of the full circle.

    Args:
        brightness (float): Defaults to 0.5.
        contrast (float): Defaults to 0.5.
        saturation (float): Defaults to 0.5.
        hue (float): At most 0.5. Defaults to 0.25.
        prob (float): Share of images that are jittered. Defaults to 0.8.
    """

    def __init__(self,
                 brightness: float = 0.5,
                 contrast: float = 0.5,
                 saturation: float = 0.5,
                 hue: float = 0.25,
                 prob: float = 0.8):
        require_number('brightness', brightness, 0)
        require_number('contrast', contrast, 0)
        require_number('saturation', saturation, 0)
        require_number('hue', hue, 0, 0.5)
        require_number('prob', prob, 0, 1)
        self.factors = dict(
            brightness=brightness, color=saturation, contrast=contrast)
        self.hue = hue
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        img = results['img']
        for name in np.random.permutation([*self.factors, 'hue']):
            if name == 'hue':
                if self.hue:
                    img = adjust_hue(
                        img, np.random.uniform(-self.hue, self.hue))
            elif self.factors[name]:
                low, high = 1 - self.factors[name], 1 + self.factors[name]
                adjust = getattr(mmcv, f'adjust_{name}')
                img = adjust(img, np.random.uniform(max(0, low), high))
        results['img'] = img
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}({self.factors}, hue={self.hue}, '
                f'prob={self.prob})')
