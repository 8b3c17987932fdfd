from .checkpoint_hook import ReliableCheckpointHook
from .data_check_hook import DataCheckHook
from .early_warning_hook import EarlyWarningHook
from .finite_hook import CheckFiniteHook
from .layer_decay import PSMTLayerDecayOptimizerConstructor
from .pseudo_label_vis_hook import PseudoLabelVisHook
from .runtime_info_hook import DeferredRuntimeInfoHook
from .speed_hook import SpeedHook
from .summary_hook import SummaryHook
from .teacher_ema_hook import TeacherEMAHook

__all__ = [
    'CheckFiniteHook', 'DataCheckHook', 'DeferredRuntimeInfoHook',
    'EarlyWarningHook',
    'PSMTLayerDecayOptimizerConstructor', 'PseudoLabelVisHook',
    'ReliableCheckpointHook', 'SpeedHook', 'SummaryHook', 'TeacherEMAHook'
]
