"""The parts of PSMT that a config may replace, checked when they are built."""

import copy
import inspect
from typing import Any, Callable, Sequence, Union

import numpy as np
import torch
import torch.nn as nn
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.utils import ConfigType
from torch import Tensor

from .conf_ce_loss import THRESHOLD, ConfCELoss, confident_pixels

_LOSS = (
    'a loss takes logits of the student and of the teachers '
    '(N, K, H, W) and a bool mask (N, H, W) of the pixels that count, '
    'and returns a scalar with a gradient; a loss of mmseg takes logits '
    '(N, K, H, W) and labels (N, H, W)'
)
_STOCK = dict(weight=None, ignore_index=0)  # what heads of mmseg pass on
_MIX = (
    'such a transform takes images (N, C, H, W), logits (N, K, H, W), a '
    'bool mask (N, H, W) and a numpy Generator, and returns the first '
    'three, mixed, as TeacherGuidedCutMix does'
)
_TVAT = (
    'such a module takes a feature (N, C, h, w) and a function that '
    'decodes it to logits (N, K, h, w), and returns what is added to the '
    'feature, of its shape, as TVAT does'
)


class PseudoLabelLoss(nn.Module):
    """A loss of logits and labels that learns from confident pseudo labels.

    Args:
        loss (nn.Module): Takes ``(logits, labels)`` and, as most of mmseg,
            also ``weight`` and ``ignore_index``.
        threshold (float): Least confidence of the teachers.
        per_class (bool): See :func:`confident_pixels`.
        ignore_index (int): Label of all other pixels, unless ``loss`` has one
            of its own.
    """

    def __init__(
        self,
        loss: nn.Module,
        threshold: float,
        per_class: bool,
        ignore_index: int,
    ):
        super().__init__()
        self.loss = loss
        self.per_class = per_class
        self.threshold = threshold
        own = getattr(loss, 'ignore_index', None)
        own = getattr(loss, 'ignore_label', None) if own is None else own
        self.ignore_index = ignore_index if own is None else own
        takes = inspect.signature(loss.forward)
        self.options = (
            dict(weight=None, ignore_index=self.ignore_index)
            if _accepts(takes, None, None, **_STOCK)
            else {}
        )

    def forward(
        self, logits: Tensor, targets: Tensor, valid: Tensor
    ) -> Tensor:
        """Scalar; exactly 0, with a graph, where no pixel counts.

        Args:
            logits (Tensor): Of the student, (N, K, H, W).
            targets (Tensor): Logits of the teachers, (N, K, H, W).
            valid (Tensor): Bool mask (N, H, W) of the pixels that count.
        """
        with torch.no_grad():
            _, label, kept = confident_pixels(
                targets, self.threshold, valid, self.per_class
            )
            label = label.masked_fill(~kept, self.ignore_index)
        logits = logits.float().masked_fill(~kept.unsqueeze(1), 0.0)
        if not kept.any():
            return logits.sum()
        return self.loss(logits, label, **self.options).mean()


class LossSum(nn.ModuleList):
    """The sum of several unsupervised losses."""

    @property
    def threshold(self) -> float:
        """float: The least confidence that counts in one of them."""
        return min(loss.threshold for loss in self)

    @property
    def per_class(self) -> bool:
        """bool: Whether one of them has a threshold for each class."""
        return any(getattr(loss, 'per_class', False) for loss in self)

    def forward(
        self, logits: Tensor, targets: Tensor, valid: Tensor
    ) -> Tensor:
        return sum(loss(logits, targets, valid) for loss in self)


def build_consistency(
    cfg: Union[ConfigType, Sequence[ConfigType]],
    num_classes: int,
    ignore_index: int,
) -> nn.Module:
    """Build the unsupervised loss, or the sum of several.

    Args:
        cfg (dict | Sequence[dict]): :class:`ConfCELoss` if it names no type;
            any loss of (logits, targets, valid); or one of mmseg's, with a
            ``threshold`` of its pseudo labels, and whether it is
            ``per_class``, by default those of Conf-CE. What a base config has
            for Conf-CE does not matter to a loss that does not know it.
        num_classes (int): Channels of the logits.
        ignore_index (int): See :class:`PseudoLabelLoss`.

    Returns:
        nn.Module: With a ``threshold``.

    Raises:
        ValueError: If it cannot be built, or is no such loss.
    """
    if not isinstance(cfg, dict):
        return LossSum(
            build_consistency(part, num_classes, ignore_index) for part in cfg
        )
    cfg = {'type': 'ConfCELoss', **cfg}
    try:
        kind = cfg['type']
        kind = MODELS.get(kind) if isinstance(kind, str) else kind
        threshold, per_class = THRESHOLD, True
        if inspect.isclass(kind) and not issubclass(kind, ConfCELoss):
            if cfg.get('reduction') in ('kept', 'valid'):
                del cfg['reduction']
            if 'threshold' not in inspect.signature(kind).parameters:
                threshold = cfg.pop('threshold', threshold)
            if 'per_class' not in inspect.signature(kind).parameters:
                per_class = cfg.pop('per_class', per_class)
        if _takes_labels(kind):
            loss = PseudoLabelLoss(
                MODELS.build(cfg), threshold, per_class, ignore_index
            )
        else:
            loss = MODELS.build(cfg)
            if not hasattr(loss, 'threshold'):
                loss.threshold = 0.0
    except Exception as error:
        raise ValueError(
            f'model.consistency={cfg} cannot be built: {error}'
        ) from error

    def check(loss: nn.Module) -> bool:
        # so sure that any threshold lets the loss be called
        targets = _numbers(2, num_classes, 64, 64) * 1e4
        logits = _numbers(2, num_classes, 64, 64).requires_grad_()
        value = loss(logits, targets, torch.ones(2, 64, 64) > 0)
        return torch.is_tensor(value) and value.requires_grad

    _probe('consistency', cfg, loss, check, _LOSS)
    return loss


def build_mix(cfg: ConfigType, num_classes: int) -> Callable:
    """Build a transform that mixes images and logits alike.

    Raises:
        ValueError: If it is none.
    """
    mix = TRANSFORMS.build(cfg)

    def check(mix: Callable) -> bool:
        given = (
            _numbers(2, 3, 64, 64),
            _numbers(2, num_classes, 64, 64),
            torch.ones(2, 64, 64) > 0,
        )
        mixed = mix(*given, np.random.default_rng(0))
        return [x.shape for x in mixed] == [x.shape for x in given] and (
            mixed[2].dtype == torch.bool
        )

    _probe('mix', cfg, mix, check, _MIX)
    return mix


def build_tvat(cfg: ConfigType, num_classes: int) -> nn.Module:
    """Build the feature perturbation, :class:`TVAT` if it names no type.

    Raises:
        ValueError: If it is none.
    """
    tvat = MODELS.build({'type': 'TVAT', **cfg})

    def check(tvat: nn.Module) -> bool:
        feat, weight = _numbers(2, 8, 8, 8), _numbers(num_classes, 8)
        found = tvat(feat, lambda x: torch.einsum('nchw,kc->nkhw', x, weight))
        return found.shape == feat.shape

    _probe('tvat', cfg, tvat, check, _TVAT)
    return tvat


def _takes_labels(kind: Callable) -> bool:
    """Whether a class of losses is called as mmseg's are."""
    forward = getattr(kind, 'forward', None)
    if forward is None:
        return False
    takes = inspect.signature(forward)
    return 'valid' not in takes.parameters and (
        _accepts(takes, None, None, None, **_STOCK)
        or not _accepts(takes, None, None, None, None)
    )


def _accepts(takes: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        takes.bind(*args, **kwargs)
        return True
    except TypeError:
        return False


def _numbers(*shape: int) -> Tensor:
    """Varied numbers of both signs, which draw no random ones."""
    return torch.arange(float(np.prod(shape))).mul(0.7).sin().view(shape)


def _probe(
    name: str,
    cfg: ConfigType,
    part: Any,
    check: Callable[[Any], bool],
    rule: str,
) -> None:
    """Run a copy of a part on small tensors; it must work on one device."""
    why = 'it returns something else'
    for device in ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]:
        try:
            trial = copy.deepcopy(part)
        except Exception:  # it knows more than this function
            return
        with torch.device(device), torch.random.fork_rng():
            try:
                if isinstance(trial, nn.Module):
                    trial = trial.to(device)
                with torch.enable_grad():
                    if check(trial):
                        return
            except Exception as error:
                why = f'{type(error).__name__}: {error}'
    raise ValueError(
        f'model.{name}={dict(cfg)} cannot be used ({why}): {rule}'
    )
