from .conf_ce_loss import ConfCELoss, conf_ce
from .data_preprocessor import SemiSegDataPreProcessor
from .dpt_neck import DPTNeck
from .ema import ema_update_
from .head_tap import HeadTap
from .pseudo_label import ensemble
from .psmt import PSMT
from .ramp import ramp
from .softmax_mse_loss import SoftmaxMSELoss
from .t_vat import TVAT, t_vat
from .tta import SemiSegTTAModel

__all__ = [
    'ConfCELoss',
    'DPTNeck',
    'HeadTap',
    'PSMT',
    'SemiSegDataPreProcessor',
    'SemiSegTTAModel',
    'SoftmaxMSELoss',
    'TVAT',
    'conf_ce',
    'ema_update_',
    'ensemble',
    'ramp',
    't_vat',
]
