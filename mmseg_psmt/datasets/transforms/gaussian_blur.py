"""Gaussian blur of random width."""

from typing import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...options import require_number, require_range


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur ``img``, of any depth and any number of channels, with a Gaussian.

    Args:
        sigma (Sequence[float]): Range of its standard deviation, in pixels.
            Defaults to (0.1, 2.0).
        prob (float): Share of images that are blurred. Defaults to 0.5.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), prob: float = 0.5):
        require_range('sigma', sigma)
        require_number('prob', prob, 0, 1)
        self.sigma = sigma
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            img, sigma = results['img'], np.random.uniform(*self.sigma)
            # OpenCV knows no others, and drops a single channel's axis
            known = img.dtype in (
                np.uint8,
                np.uint16,
                np.int16,
                np.float32,
                np.float64,
            )
            blurred = cv2.GaussianBlur(
                img if known else img.astype(np.float64), (0, 0), sigma
            )
            results['img'] = blurred.reshape(img.shape).astype(img.dtype)
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(sigma={self.sigma}, prob={self.prob})'
        )
