from .check_finite_hook import CheckFiniteHook
from .checkpoint_hook import ReliableCheckpointHook
from .data_check_hook import DataCheckHook
from .early_warning_hook import EarlyWarningHook
from .preemption_hook import PreemptionHook
from .pseudo_label_vis_hook import PseudoLabelVisHook
from .speed_hook import SpeedHook
from .summary_hook import SummaryHook
from .teacher_ema_hook import TeacherEMAHook

__all__ = [
    'CheckFiniteHook',
    'DataCheckHook',
    'EarlyWarningHook',
    'PreemptionHook',
    'PseudoLabelVisHook',
    'ReliableCheckpointHook',
    'SpeedHook',
    'SummaryHook',
    'TeacherEMAHook',
]
