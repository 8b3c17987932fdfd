"""mIoU of the teachers, and of each net beside them."""
from typing import Dict, List, Sequence

from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class TeacherStudentIoUMetric(IoUMetric):
    """:class:`IoUMetric`, and again for each net, such as ``student/mIoU``.

    What ``model.predict_with`` names, such as ``['teachers', 'student',
    'teacher1']``, is scored; the first of them has no prefix, and the first
    rank keeps its IoU of each class, in percent, in ``class_iou``: NaN where
    neither masks nor predictions hold the class, empty before an evaluation.

    Args:
        **kwargs: Those of :class:`IoUMetric`; ``output_dir`` receives the
            masks of ``pred_sem_seg`` only.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.nets = {
            name: IoUMetric(**{**kwargs, 'output_dir': None, 'prefix': name})
            for name in ('teachers', 'student', 'teacher1', 'teacher2')
        }
        self.class_iou: List[float] = []

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        super().process(data_batch, data_samples)
        for name, metric in self.nets.items():
            found = [(sample, sample[f'{name}_sem_seg'])
                     for sample in data_samples if f'{name}_sem_seg' in sample]
            metric.process(data_batch, [
                {**sample, 'pred_sem_seg': labels} for sample, labels in found
                if labels['data'] is not sample['pred_sem_seg']['data']])

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Those of the parent; keeps the IoU of each class."""
        if results:
            intersect, union, *_ = map(sum, zip(*results))
            self.class_iou = (100 * intersect / union).tolist()
        return super().compute_metrics(results)

    def evaluate(self, size: int) -> Dict[str, float]:
        scored = [net for net in self.nets.values() if net.results]
        metrics = super().evaluate(size)
        for net in scored:
            metrics.update(net.evaluate(size))
        return metrics

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.nets.values():
            metric.dataset_meta = dataset_meta
