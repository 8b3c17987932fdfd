"""Normalize, pad and stack every view of a semi-supervised batch."""

from typing import Any, Dict, Optional

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS

from ..options import is_type


@MODELS.register_module()
class SemiSegDataPreProcessor(SegDataPreProcessor):
    """:class:`SegDataPreProcessor` for the views of a training batch.

    Images for validation and test pass through the parent unchanged, and any
    other batch without views, such as mmseg's tools make.

    Args:
        mask_padding (bool): Whether the padding of unlabeled images is kept
            out of the unsupervised loss. Defaults to True.
        **kwargs: Those of the parent.
    """

    def __init__(self, mask_padding: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.mask_padding = mask_padding

    def forward(self, data: dict, training: bool = False) -> Dict[str, Any]:
        """Process a batch.

        Args:
            data (dict): In training, views of :class:`SemiSegDataset`, each
                with ``inputs`` (list of (3, H, W) images) and
                ``data_samples``. Otherwise what the parent takes.
            training (bool): Whether this is a training batch.

        Returns:
            dict: In training, ``inputs`` maps each view to a tensor
            (N, 3, H, W) and ``valid`` to a bool mask (N, H, W) that is False
            where an unlabeled image is padding, or the ``valid`` of one of
            its samples is; ``data_samples`` maps each view to its list.
        """
        if not training or 'inputs' in data:
            return super().forward(data, training)
        batch = {
            name: super(SemiSegDataPreProcessor, self).forward(view, True)
            for name, view in data.items()
        }
        inputs = {name: view['inputs'] for name, view in batch.items()}
        weak = inputs['weak']
        inputs['valid'] = weak.new_full(
            (len(weak), *weak.shape[2:]),
            not self.mask_padding,
            dtype=torch.bool,
        )
        for mask, image in zip(inputs['valid'], data['weak']['inputs']):
            mask[: image.shape[1], : image.shape[2]] = True
        for name in ('weak', 'strong'):
            for mask, sample in zip(
                inputs['valid'], batch[name]['data_samples']
            ):
                if 'valid' in sample:
                    photo = sample.valid.data[0]
                    mask[: photo.shape[0], : photo.shape[1]] &= photo
        return dict(
            inputs=inputs,
            data_samples={
                name: view['data_samples'] for name, view in batch.items()
            },
        )


def merge_options(segmentor: Optional[dict], psmt: Optional[dict]) -> dict:
    """Options of the data preprocessor of PSMT.

    Args:
        segmentor (dict, optional): Those of the segmentor.
        psmt (dict, optional): What differs from them. The runner fills in a
            top-level one, which a segmentor with its own does not heed.

    Returns:
        dict: With a ``type`` only if that is :class:`SemiSegDataPreProcessor`
        or one derived from it.
    """
    stock, own = segmentor or {}, psmt or {}
    ours = is_type(MODELS, own.get('type'), SemiSegDataPreProcessor)
    if stock and own.get('type') and not ours:
        own = {}
    options = {**stock, **own}
    if not ours:
        options.pop('type', None)
    return options
