"""Gaussian blur of random width."""
from typing import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...options import require_number, require_range


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur ``img`` with a Gaussian.

    Args:
        sigma (Sequence[float]): Range of its standard deviation, in pixels.
            Defaults to (0.1, 2.0).
        prob (float): Share of images that are blurred. Defaults to 0.5.
    """

    def __init__(self,
                 sigma: Sequence[float] = (0.1, 2.0),
                 prob: float = 0.5):
        require_range('sigma', sigma)
        require_number('prob', prob, 0, 1)
        self.sigma = sigma
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            results['img'] = cv2.GaussianBlur(
                results['img'], (0, 0), np.random.uniform(*self.sigma))
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(sigma={self.sigma}, '
                f'prob={self.prob})')
