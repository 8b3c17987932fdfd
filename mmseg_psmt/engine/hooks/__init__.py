"""The hooks of a training, in the order in which the runner calls them.

Those of mmengine and mmseg stand where a hook of this package must come
before or after them. SpeedHook is there where a config asks for it.

============  ======================  =====================================
priority      hook                    why there
============  ======================  =====================================
VERY_HIGH     RuntimeInfoHook
VERY_HIGH     DataCheckHook           refuses bad data before they are used
ABOVE_NORMAL  CheckFiniteHook         stops before the teachers move
NORMAL        IterTimerHook
NORMAL        DistSamplerSeedHook
NORMAL        SegVisualizationHook
NORMAL        TeacherEMAHook          sets the iteration, moves the teachers
NORMAL        SpeedHook
BELOW_NORMAL  LoggerHook
LOW           ParamSchedulerHook
LOW           PseudoLabelVisHook      draws what the teachers say after that
LOW           EarlyWarningHook        compares teachers that have moved
VERY_LOW      ReliableCheckpointHook  saves teachers that have moved
LOWEST        SummaryHook             names the last checkpoint
LOWEST        PreemptionHook          saves what the interval has not saved
============  ======================  =====================================
"""

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
