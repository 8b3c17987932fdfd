"""mIoU of the teachers, and of each net beside them."""

import logging
from typing import Dict, List, Sequence

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class TeacherStudentIoUMetric(IoUMetric):
    """:class:`IoUMetric`, and again for each net, such as ``student/mIoU``.

    What ``model.predict_with`` names, such as ``['teachers', 'student',
    'teacher1']``, is scored; the first of them has no prefix, and the first
    rank keeps its IoU of each class, in percent, in ``class_iou``: NaN where
    neither masks nor predictions hold the class, empty before an evaluation.
    Where the prediction is made of that of several augmentations, it is scored
    alone, for the others are not merged.

    Args:
        **kwargs: Those of :class:`IoUMetric`; ``output_dir`` receives the
            masks of ``pred_sem_seg`` only.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.merged = False
        self.nets = {
            name: IoUMetric(**{**kwargs, 'output_dir': None, 'prefix': name})
            for name in ('teachers', 'student', 'teacher1', 'teacher2')
        }
        self.class_iou: List[float] = []

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        super().process(data_batch, data_samples)
        for sample in data_samples:
            prediction = sample['pred_sem_seg']['data']
            labels = {
                name: sample[f'{name}_sem_seg']
                for name in self.nets
                if f'{name}_sem_seg' in sample
            }
            if labels and not any(
                x['data'] is prediction for x in labels.values()
            ):
                self.merged = True
                continue
            for name, label in labels.items():
                if label['data'] is not prediction:
                    self.nets[name].process(
                        data_batch, [{**sample, 'pred_sem_seg': label}]
                    )

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Those of the parent; keeps the IoU of each class."""
        if results:
            intersect, union, *_ = map(sum, zip(*results))
            self.class_iou = (100 * intersect / union).tolist()
        return super().compute_metrics(results)

    def evaluate(self, size: int) -> Dict[str, float]:
        if self.merged:
            self.merged = False
            print_log(
                'Augmented predictions are merged for the first of '
                'model.predict_with alone, which is scored: set '
                'model.predict_with=student to score the student so',
                logger='current',
                level=logging.WARNING,
            )
        scored = self._scored()
        metrics = super().evaluate(size)
        for name in scored:
            metrics.update(self.nets[name].evaluate(size))
        return metrics

    def _scored(self) -> List[str]:
        """Nets with a result on any rank; one may have had no image."""
        found = all_gather_object(
            [name for name, net in self.nets.items() if net.results]
        )
        return [name for name in self.nets if name in sum(found, [])]

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.nets.values():
            metric.dataset_meta = dataset_meta
