"""The teachers: frozen copies of the student's architecture."""
import copy
from typing import Callable, Optional

import torch.nn as nn
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from mmseg.utils import ConfigType, add_prefix
from torch import Tensor

from ..options import require


class Teachers(nn.ModuleList):
    """One or two segmentors in eval mode that no gradient reaches.

    The exception is the supervised warm-up of independent teachers, which
    learn until :meth:`freeze`.

    Args:
        segmentor (dict): Config of each.
        num (int): 1 or 2.
        init (str): 'copy' or 'independent', see :class:`PSMT`.
        norm (str): In training BN uses its 'running' statistics or those of
            the 'batch'; neither moves them.

    Raises:
        ValueError: On any other value.
    """

    def __init__(self, segmentor: ConfigType, num: int, init: str, norm: str):
        require('num_teachers', num, '1 or 2',
                lambda x: isinstance(x, int) and x in (1, 2))
        if init not in ('copy', 'independent'):
            raise ValueError(
                f"teachers_init must be 'copy' or 'independent', got {init!r}")
        if norm not in ('running', 'batch'):
            raise ValueError(
                f"teacher_norm must be 'running' or 'batch', got {norm!r}")
        super().__init__(
            MODELS.build(copy.deepcopy(segmentor)) for _ in range(num))
        self.independent = init == 'independent'
        self.warming_up = self.independent
        self.norm = norm
        if self.independent:
            for param in self.parameters():
                if param.requires_grad:  # DDP leaves the teachers out
                    param.register_post_accumulate_grad_hook(
                        lambda p: all_reduce(p.grad, 'mean'))
        else:
            self.requires_grad_(False)

    def init_from(self, student: nn.Module) -> None:
        """Initialise each by itself, or copy the student."""
        for teacher in self:
            if self.independent:
                teacher.init_weights()
            else:
                teacher.load_state_dict(student.state_dict())

    def train(self, mode: bool = True) -> 'Teachers':
        """Stay in eval, unless they warm up.

        Statistics of the batch are for the norms that a segmentor lets learn:
        ``norm_eval`` and ``frozen_stages`` hold.
        """
        use_batch = mode and not self.warming_up and self.norm == 'batch'
        super().train(use_batch or (mode and self.warming_up))
        for module in self.modules():
            norm = (isinstance(module, nn.modules.batchnorm._BatchNorm)
                    and module.running_mean is not None)
            if use_batch and not norm:
                module.training = False
            elif norm:
                module.track_running_stats = not use_batch
        return self

    def warmup_loss(self,
                    inputs: dict,
                    data_samples: dict,
                    backward: Optional[Callable[[Tensor], None]] = None
                    ) -> dict:
        """Supervised losses ``warm1.*`` and so on of independent teachers.

        Args:
            inputs (dict): With images ``labeled_weak`` (N, 3, H, W).
            data_samples (dict): With their samples.
            backward (Callable, optional): Takes the loss of a teacher
                before the next one makes its graph, so that there is one at
                a time in memory. The losses then have no graph. None leaves
                it to the caller.

        Raises:
            ValueError: If there is no such view.
        """
        losses = {}
        if self.independent and 'labeled_weak' not in inputs:
            raise ValueError(
                'The warm-up trains the teachers on the weak view of the '
                'labelled images: end the labelled pipeline with '
                "dict(type='MultiView', labeled=[...], labeled_weak=[...])")
        for i, teacher in enumerate(self if self.independent else (), 1):
            loss = teacher.loss(inputs['labeled_weak'],
                                data_samples['labeled_weak'])
            if backward is not None:
                total, terms = teacher.parse_losses(loss)
                backward(total)
                loss = {
                    name: term.detach()
                    for name, term in terms.items() if name != 'loss'
                }
            losses.update(add_prefix(loss, f'warm{i}'))
        return losses

    def freeze(self) -> None:
        """End the warm-up: from now on only the EMA moves them."""
        self.requires_grad_(False)
        for param in self.parameters():
            param.grad = None
        self.warming_up = False
        self.train(self.training)
