"""Predictions of one or several segmentors together."""

from typing import Callable, Dict, List, Sequence

import torch
import torch.nn as nn
from mmengine.structures import PixelData
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor


def mean_logits(
    nets: Sequence[nn.Module], logits_of: Callable[[nn.Module], Tensor]
) -> Tensor:
    """Mean over segmentors of the logits that ``logits_of`` returns."""
    return torch.stack([logits_of(net) for net in nets]).mean(dim=0)


def predict(
    nets: Dict[str, List[nn.Module]],
    inputs: Tensor,
    data_samples: OptSampleList = None,
    keep_logits: bool = False,
) -> SampleList:
    """Predict whole or sliding, as the ``test_cfg`` of each segmentor says.

    Args:
        nets (dict[str, list[nn.Module]]): Segmentors by the name of their
            common prediction. Without data samples only the first counts.
        inputs (Tensor): Images (N, 3, H, W).
        data_samples (list[SegDataSample], optional): With metainfo.
        keep_logits (bool): Whether to return ``<name>_seg_logits``, too.

    Returns:
        list[SegDataSample]: With ``seg_logits`` and ``pred_sem_seg`` of the
        first name, and ``<name>_sem_seg`` of each.
    """
    names = list(nets)
    if data_samples is None:
        names = names[:1]
        shape = inputs.shape[2:]
        metas = [
            dict(ori_shape=shape, img_shape=shape, pad_shape=shape)
            for _ in inputs
        ]
    for name in reversed(names):
        if data_samples is not None:
            metas = [sample.metainfo for sample in data_samples]
        logits = mean_logits(
            nets[name], lambda net: net.inference(inputs, metas)
        )
        data_samples = nets[name][0].postprocess_result(logits, data_samples)
        for sample in data_samples:
            labels = PixelData(data=sample.pred_sem_seg.data)
            sample.set_data({f'{name}_sem_seg': labels})
            if keep_logits:
                logits = PixelData(data=sample.seg_logits.data)
                sample.set_data({f'{name}_seg_logits': logits})
    return data_samples
