"""mIoU of the teachers, and of the student beside them."""
from typing import Dict, Sequence

from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class TeacherStudentIoUMetric(IoUMetric):
    """:class:`IoUMetric`, and again for the student as ``student/mIoU``.

    The second appears when the model predicts with the student too:
    ``model.predict_with=['teachers', 'student']``.

    Args:
        **kwargs: Those of :class:`IoUMetric`; ``output_dir`` receives the
            masks of ``pred_sem_seg`` only.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        second = {**kwargs, 'output_dir': None, 'prefix': 'student'}
        self.student = IoUMetric(**second)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        super().process(data_batch, data_samples)
        self.student.process(data_batch, [{
            **sample, 'pred_sem_seg': sample['student_sem_seg']
        } for sample in data_samples if 'student_sem_seg' in sample])

    def evaluate(self, size: int) -> Dict[str, float]:
        both = bool(self.student.results)
        metrics = super().evaluate(size)
        if both:
            metrics.update(self.student.evaluate(size))
        return metrics

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self.student.dataset_meta = dataset_meta
