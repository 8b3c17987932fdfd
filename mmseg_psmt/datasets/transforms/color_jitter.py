"""Brightness, contrast, saturation and hue in random order."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...options import require_number
from ...stack import adjust_hue


def blend(img: np.ndarray, other: float, share: float) -> np.ndarray:
    """An image, by its share, and one gray value; in the type of the image."""
    out = img.astype(np.float64) * share + other * (1 - share)
    if np.issubdtype(img.dtype, np.integer):
        limits = np.iinfo(img.dtype)
        out = out.clip(limits.min, limits.max)
    return out.astype(img.dtype)


# As mmcv's, which are for 8-bit color images.
ADJUST = dict(
    brightness=lambda img, factor: blend(img, 0.0, factor),
    contrast=lambda img, factor: blend(img, img.mean(), factor),
)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Jitter the colors of ``img``.

    Brightness and contrast of images of any depth and any number of channels;
    saturation and hue need 8-bit color images (uint8, H x W x 3). What leaves
    the range of a whole-number type is cut off.

    Factors are drawn from ``[max(0, 1 - x), 1 + x]`` and the turn of the hue
    from ``[-hue, hue]`` of the full circle.

    Args:
        brightness (float): Defaults to 0.5.
        contrast (float): Defaults to 0.5.
        saturation (float): Defaults to 0.5.
        hue (float): At most 0.5. Defaults to 0.25.
        prob (float): Share of images that are jittered. Defaults to 0.8.

    Raises:
        ValueError: If saturation or hue of another kind of image is to be
            jittered.
    """

    def __init__(
        self,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 0.25,
        prob: float = 0.8,
    ):
        require_number('brightness', brightness, 0)
        require_number('contrast', contrast, 0)
        require_number('saturation', saturation, 0)
        require_number('hue', hue, 0, 0.5)
        require_number('prob', prob, 0, 1)
        self.factors = dict(
            brightness=brightness, color=saturation, contrast=contrast
        )
        self.hue = hue
        self.prob = prob

    def transform(self, results: dict) -> dict:
        img = results['img']
        stock = img.dtype == np.uint8 and img.shape[2:] == (3,)
        if not stock and self.prob and (self.factors['color'] or self.hue):
            raise ValueError(
                'saturation and hue of ColorJitter need 8-bit color images '
                f'(uint8, H x W x 3), got {img.dtype} of '
                f'{" x ".join(map(str, img.shape))}: set saturation=0 and '
                'hue=0'
            )
        if np.random.rand() >= self.prob:
            return results
        for name in np.random.permutation([*self.factors, 'hue']):
            if name == 'hue':
                if self.hue:
                    img = adjust_hue(
                        img, np.random.uniform(-self.hue, self.hue)
                    )
            elif self.factors[name]:
                low, high = 1 - self.factors[name], 1 + self.factors[name]
                adjust = (
                    getattr(mmcv, f'adjust_{name}') if stock else ADJUST[name]
                )
                img = adjust(img, np.random.uniform(max(0, low), high))
        results['img'] = img
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.factors}, hue={self.hue}, '
            f'prob={self.prob})'
        )
