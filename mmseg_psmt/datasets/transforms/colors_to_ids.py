"""Masks in colors become masks of class ids."""

from typing import Optional, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...options import require, require_whole


@TRANSFORMS.register_module()
class ColorsToIds(BaseTransform):
    """Replace each color in ``gt_seg_map`` by the class that it means.

    Stands behind ``LoadAnnotations``.

    Args:
        colors (Sequence[Sequence[int]]): Red, green and blue of each class,
            in the order of the classes.
        others (int, optional): Id of all other colors, such as 255 to ignore
            them. Defaults to None, which refuses them.

    Raises:
        ValueError: If a mask holds another color, or no colors.
    """

    def __init__(
        self, colors: Sequence[Sequence[int]], others: Optional[int] = None
    ):
        require(
            'colors',
            colors,
            'different colors [r, g, b] of 0 to 255, one for each class',
            lambda x: (
                0 < len(x) < 256
                and all(
                    len(color) == 3
                    and all(value in range(256) for value in color)
                    for color in x
                )
                and len({tuple(color) for color in x}) == len(x)
            ),
        )
        if others is not None:
            require_whole('others', others, 0)
        self.others = others
        codes = np.array(colors) @ (65536, 256, 1)
        self.order = codes.argsort()
        self.codes = codes[self.order]

    def transform(self, results: dict) -> dict:
        mask = results['gt_seg_map']
        if mask.ndim != 3 or mask.shape[2] < 3:
            raise ValueError(
                f'{results.get("seg_map_path")} holds no colors but ids '
                f'({mask.shape}): take ColorsToIds out of the pipeline'
            )
        codes = mask[..., :3].astype(np.int64) @ (1, 256, 65536)  # BGR
        place = np.searchsorted(self.codes, codes).clip(
            max=len(self.codes) - 1
        )
        known = self.codes[place] == codes
        if self.others is None and not known.all():
            color = mask[~known][0, 2::-1].tolist()
            raise ValueError(
                f'{results.get("seg_map_path")} holds the color {color}, '
                'which ColorsToIds does not know: add it to colors, or set '
                'others=255 to ignore what has no class'
            )
        results['gt_seg_map'] = np.where(
            known, self.order[place], self.others or 0
        ).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({len(self.codes)} colors, '
            f'others={self.others})'
        )
