"""The mask of the pixels of an unlabeled image that are image."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData

UNKNOWN = 255


class PhotoMask(BaseTransform):
    """Give ``gt_seg_map`` 0 where the image is of no known class.

    That is everywhere for an image without a mask; the classes of one that
    has a mask count from 1, and no pixel of it is ignored. So what a
    geometric transform fills, or a transform of one's own excludes, with an
    id above the classes (255 by default) can be told apart afterwards.

    Args:
        num_classes (int): Ids from there on are no class.
        ignore_index (int): Id that is no class, either.
    """

    def __init__(self, num_classes: int, ignore_index: int):
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        ids = results.get('gt_seg_map')
        if ids is None:
            shape = results['img'].shape[:2]
            results['gt_seg_map'] = np.zeros(shape, np.uint8)
            results.setdefault('seg_fields', []).append('gt_seg_map')
        else:
            known = (ids < self.num_classes) & (ids != self.ignore_index)
            results['gt_seg_map'] = np.where(known, ids + 1, 0).astype(
                np.uint8
            )
        return results


def unpack_photo_mask(view: dict, num_classes: int) -> None:
    """Replace the packed :class:`PhotoMask` of a view by its meaning.

    The sample gets ``valid`` (bool, 1 x H x W), unless all of it is, and
    ``gt_sem_seg`` holds the classes again, 255 where they are not known, or
    goes if none is.

    Args:
        view (dict): With ``inputs`` and ``data_samples``, changed in place.
        num_classes (int): As given to the mask.
    """
    sample = view['data_samples']
    if 'gt_sem_seg' not in sample:
        return
    ids = sample.gt_sem_seg.data
    del sample.gt_sem_seg
    if ids.shape[-2:] != view['inputs'].shape[-2:]:
        return  # a transform of one's own that knows of no masks
    valid, known = ids <= num_classes, (0 < ids) & (ids <= num_classes)
    if not valid.all():
        sample.valid = PixelData(data=valid)
    if known.any():
        sample.gt_sem_seg = PixelData(
            data=torch.where(known, ids - 1, UNKNOWN)
        )
