from .data_check_hook import DataCheckHook
from .pseudo_label_vis_hook import PseudoLabelVisHook
from .teacher_ema_hook import TeacherEMAHook

__all__ = ['DataCheckHook', 'PseudoLabelVisHook', 'TeacherEMAHook']
