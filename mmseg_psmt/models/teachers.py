"""The teachers: dual EMA, whose turn it is, and their warm-up."""

import copy
from typing import Callable, List, Optional, Tuple

import torch.nn as nn
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from mmseg.utils import ConfigType, add_prefix
from torch import Tensor

from ..options import require, require_number, require_whole
from .ema import ema_update_


class Teachers(nn.ModuleList):
    """One or two segmentors in eval mode that no gradient reaches.

    Of two the active one learns from the student, as an exponential moving
    average of its weights, and the other one assists; they take turns. The
    exception is the supervised warm-up of independent teachers, which learn
    by themselves until :meth:`freeze`.

    Args:
        segmentor (dict): Config of each.
        num (int): 1 or 2. Defaults to 2.
        init (str): 'copy' starts them as copies of the student at the end of
            the warm-up; 'independent' initializes each by itself and trains
            it during the warm-up, in which ``clip_grad`` of the optimizer
            takes one norm over the three networks. Defaults to 'copy'.
        decay (float, optional): What the decay of the EMA rises to. That of
            copies is ``1 - 1 / (k + 1)`` at first, after ``k`` updates, so
            that they are the mean of the student since the warm-up until they
            can be an exponential one. Defaults to what
            :meth:`PSMT.set_schedule` finds.
        alternate_every (int, optional): Iterations until the other one
            becomes the active one. Defaults to what
            :meth:`PSMT.set_schedule` finds.
        norm (str): In training BN uses its 'running' statistics or those of
            the 'batch'; neither moves them. Defaults to 'running'.
        topk (int, optional): Classes per pixel for which the assisting one
            speaks, see :func:`ensemble`. Defaults to all.

    Raises:
        ValueError: On any other value.
    """

    def __init__(
        self,
        segmentor: ConfigType,
        num: int = 2,
        init: str = 'copy',
        decay: Optional[float] = None,
        alternate_every: Optional[int] = None,
        norm: str = 'running',
        topk: Optional[int] = None,
    ):
        require(
            'model.teachers.num',
            num,
            '1 or 2',
            lambda x: isinstance(x, int) and x in (1, 2),
        )
        require(
            'model.teachers.init',
            init,
            "'copy' or 'independent'",
            lambda x: x in ('copy', 'independent'),
        )
        require(
            'model.teachers.norm',
            norm,
            "'running' or 'batch'",
            lambda x: x in ('running', 'batch'),
        )
        if decay is not None:
            require_number('model.teachers.decay', decay, 0, 1)
        for name, value in (
            ('alternate_every', alternate_every),
            ('topk', topk),
        ):
            if value is not None:
                require_whole(f'model.teachers.{name}', value, 1)
        super().__init__(
            MODELS.build(copy.deepcopy(segmentor)) for _ in range(num)
        )
        self.independent = init == 'independent'
        self.warming_up = self.independent
        self.decay = 0.996 if decay is None else decay
        self.alternate_every = alternate_every
        self.norm = norm
        self.topk = topk
        self.age = 0  # iterations since the warm-up
        self.iters_per_update = 1
        if self.independent:
            for param in self.parameters():
                if param.requires_grad:  # DDP leaves the teachers out
                    param.register_post_accumulate_grad_hook(
                        lambda p: all_reduce(p.grad, 'mean')
                    )
        else:
            self.requires_grad_(False)

    @property
    def turns(self) -> Tuple[int, int]:
        """tuple[int, int]: Finished turns of all of them since the warm-up,
        and the iterations of the present turn before this one."""
        every = self.alternate_every
        return divmod(self.age, every) if every else (0, self.age)

    @property
    def active(self) -> int:
        """int: Index of the one that learns from the student now."""
        return self.turns[0] % len(self)

    @property
    def present_decay(self) -> float:
        """float: EMA decay of the active one in this iteration."""
        if self.independent:
            return self.decay
        turn, begun = self.turns
        own = turn // len(self) * (self.alternate_every or 0) + begun
        updates = own // self.iters_per_update
        return min(self.decay, 1 - 1 / (updates + 1))

    @property
    def by_turn(self) -> List[nn.Module]:
        """list[nn.Module]: The active one first, then the assisting one."""
        nets = [*self]
        return [nets.pop(self.active), *nets]

    def follow(self, student: nn.Module) -> None:
        """One EMA step of the active one towards the student."""
        ema_update_(self[self.active], student, self.present_decay)

    def copy(self, student: nn.Module) -> None:
        """Take over the student's weights, unless they are independent."""
        for teacher in () if self.independent else self:
            ema_update_(teacher, student, decay=0.0)

    def init_from(self, student: nn.Module) -> None:
        """Initialize each by itself, or copy the student."""
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
            norm = (
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                and module.running_mean is not None
            )
            if use_batch and not norm:
                module.training = False
            elif norm:
                module.track_running_stats = not use_batch
        return self

    def warmup_loss(
        self,
        inputs: dict,
        data_samples: dict,
        backward: Optional[Callable[[Tensor], None]] = None,
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
                'labeled images: end the labeled pipeline with '
                "dict(type='MultiView', labeled=[...], labeled_weak=[...])"
            )
        for i, teacher in enumerate(self if self.independent else (), 1):
            loss = teacher.loss(
                inputs['labeled_weak'], data_samples['labeled_weak']
            )
            if backward is not None:
                total, terms = teacher.parse_losses(loss)
                backward(total)
                loss = {
                    name: term.detach()
                    for name, term in terms.items()
                    if name != 'loss'
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
