"""Test-time augmentation of every net that predicts."""

from typing import Any, List

from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList


@MODELS.register_module(name='SegTTAModel', force=True)
class SemiSegTTAModel(SegTTAModel):
    """:class:`SegTTAModel`, which merges predictions of all nets of PSMT.

    The parent merges what ``pred_sem_seg`` is made of; ``<name>_sem_seg``
    would be left as the last augmentation had it. Takes the parent's place in
    configs, and is the parent for any other model.

    Args:
        *args, **kwargs: Those of the parent.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.names = getattr(self.module, 'predict_with', [])
        self.module.keep_logits = True

    def merge_preds(self, data_samples_list: List[SampleList]) -> SampleList:
        of_nets = {
            name: super(SemiSegTTAModel, self).merge_preds(
                [
                    [
                        SegDataSample(
                            metainfo=sample.metainfo,
                            seg_logits=sample.pop(f'{name}_seg_logits'),
                        )
                        for sample in samples
                    ]
                    for samples in data_samples_list
                ]
            )
            for name in self.names
        }
        merged = super().merge_preds(data_samples_list)
        for name, samples in of_nets.items():
            for sample, own in zip(merged, samples):
                labels = PixelData(data=own.pred_sem_seg.data)
                sample.set_data({f'{name}_sem_seg': labels})
                if name == self.names[0]:
                    sample.pred_sem_seg = PixelData(data=labels.data)
        return merged
