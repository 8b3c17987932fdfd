"""Layer-wise learning rates for the student within PSMT."""
from typing import List

import torch.nn as nn
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PSMTLayerDecayOptimizerConstructor(LearningRateDecayOptimizerConstructor
                                         ):
    """:class:`LearningRateDecayOptimizerConstructor` for each net of PSMT.

    The parent finds the layer of a parameter by a name that begins with
    ``backbone``. Takes the same ``paramwise_cfg``.
    """

    def add_params(self, params: List[dict], module: nn.Module,
                   **kwargs) -> None:
        nets = [module.segmentor]
        if module.teachers.warming_up:
            nets += module.teachers
        for net in nets:
            super().add_params(params, net, **kwargs)
