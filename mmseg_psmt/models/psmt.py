"""Perturbed and Strict Mean Teachers."""

import copy
import inspect
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable, List, Optional, Sequence, Union

import torch
import torch.nn as nn
from mmseg.models.segmentors import BaseSegmentor
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import (
    ConfigType,
    OptConfigType,
    OptMultiConfig,
    OptSampleList,
    SampleList,
    add_prefix,
)
from torch import Tensor

from ..options import require, require_number, require_whole
from ..randomness import fork_rng
from ..stack import before_loading
from .data_preprocessor import SemiSegDataPreProcessor, merge_options
from .encoders import freeze_, must_fit, once
from .head_tap import HeadTap
from .heads import logits_of, refuse, tapped_head
from .interfaces import build_consistency, build_mix, build_tvat
from .one_pass import check_one_pass, one_pass, splits_losses
from .plain_weights import spread_plain_weights
from .prediction import mean_logits, predict
from .pseudo_label import confidence_stats, ensemble
from .ramp import ramp
from .teachers import Teachers

# What follows the schedule where it is not given; docs/design.md says what was
# compared, and what was not. Warm-up and ramp are shares of all iterations. A
# turn of a teacher is a share of those after the warm-up, and what it
# remembers, the time constant of its EMA, a share of its own updates.
WARMUP, RAMP, TURN, MEMORY = 0.3, 0.1, 0.05, 0.1


@MODELS.register_module()
class PSMT(BaseSegmentor):
    """Perturbed and Strict Mean Teachers (CVPR 2022, arXiv 2111.12903).

    Trains any per-pixel :class:`EncoderDecoder` of mmseg, the student, on
    labeled and unlabeled images with the help of EMA teachers of the same
    architecture. :class:`TeacherEMAHook` tells it the iteration and has the
    teachers updated.

    Args:
        segmentor (dict): Config of the student.
        data_preprocessor (dict, optional): What differs from that of
            ``segmentor``, such as ``dict(size=crop_size)``.
        warmup_iters (int, optional): Supervised iterations before all
            others, in which independent teachers learn from their view
            ``labeled_weak``. Defaults to a share of the schedule,
            :data:`WARMUP`, or to 0 where ``load_from`` gave trained
            weights, see :meth:`set_schedule`.
        teachers (dict, optional): Options of :class:`Teachers`: ``num``,
            ``init``, ``decay``, ``alternate_every``, ``norm`` and ``topk``.
            ``decay`` defaults to 0.996, in short trainings to less, so that a
            teacher remembers at most a share of it, :data:`MEMORY`;
            ``alternate_every`` to one pass over the unlabeled images, in
            short trainings to a share of what is left after the warm-up,
            :data:`TURN`, in either case rounded up to whole steps of the
            optimizer.
        tvat (dict, optional): The feature perturbation, :class:`TVAT` if it
            names no type. None for none.
        tvat_with (str): Whose prediction it attacks: that of both 'teachers',
            as in the paper, or of the 'active' one alone, for less
            arithmetic. Defaults to 'teachers'.
        perturb_at (str, optional): See :func:`find_site`.
        mix (Sequence[dict]): Transforms that mix strong images and teacher
            logits alike. Defaults to one :class:`TeacherGuidedCutMix`.
        consistency (dict | Sequence[dict]): The unsupervised loss, see
            :func:`build_consistency`.
        unsup_weight (float): Its weight after the ramp. Defaults to 1.
        ramp_iters (int, optional): Iterations in which the weight rises, see
            :func:`ramp`. Defaults to a share of the schedule, :data:`RAMP`.
        one_pass (bool, optional): Labeled and unlabeled images go through
            the student together, see :func:`one_pass`. Defaults to True
            where the decode head and the data preprocessor allow it.
        freeze_backbone (bool): The backbone learns nothing, keeps no graph
            and is that of the teachers, too. Defaults to False.
        predict_with (str | Sequence[str]): 'teachers' (the mean of their
            logits), 'student', 'teacher1' or 'teacher2'. The first of
            several gives ``pred_sem_seg``; each gives ``<name>_sem_seg``.
            Defaults to 'teachers'.
        pretrained, train_cfg (None): Set by ``mmseg.apis.init_model``;
            those that count are in ``segmentor``.
        decode_head (dict, optional): ``dict(type='segmentor')``, for tools of
            mmseg that ask a config for its type.
        init_cfg (dict, optional): See :class:`BaseModule`.
    """

    def __init__(
        self,
        segmentor: ConfigType,
        data_preprocessor: OptConfigType = None,
        warmup_iters: Optional[int] = None,
        teachers: ConfigType = dict(),
        tvat: OptConfigType = dict(type='TVAT'),
        tvat_with: str = 'teachers',
        perturb_at: Optional[str] = None,
        mix: Sequence[ConfigType] = (dict(type='TeacherGuidedCutMix'),),
        consistency: Union[ConfigType, Sequence[ConfigType]] = dict(
            type='ConfCELoss'
        ),
        unsup_weight: float = 1.0,
        ramp_iters: Optional[int] = None,
        one_pass: Optional[bool] = None,
        freeze_backbone: bool = False,
        predict_with: Union[str, Sequence[str]] = 'teachers',
        pretrained: None = None,
        train_cfg: None = None,
        decode_head: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ):
        require(
            'model.segmentor',
            segmentor,
            'the config of an EncoderDecoder',
            lambda x: isinstance(x, dict) and {'type', 'decode_head'} <= {*x},
        )
        require(
            'model.data_preprocessor',
            data_preprocessor,
            'None or a dict',
            lambda x: x is None or isinstance(x, dict),
        )
        options = merge_options(
            segmentor.get('data_preprocessor'), data_preprocessor
        )
        super().__init__(
            {'type': SemiSegDataPreProcessor, **options}, init_cfg
        )
        require(
            'model.pretrained and train_cfg',
            (pretrained, train_cfg),
            'given to model.segmentor',
            lambda x: not any(x),
        )
        require(
            'model.decode_head',
            decode_head,
            'given to model.segmentor',
            lambda x: x in (None, dict(type='segmentor')),
        )
        known = inspect.signature(Teachers).parameters.keys() - {'segmentor'}
        require(
            'model.teachers',
            teachers,
            f'a dict of {sorted(known)}',
            lambda x: {**x}.keys() <= known,
        )
        if teachers.get('init') == 'independent' and warmup_iters == 0:
            raise ValueError(
                "model.teachers.init='independent' leaves the teachers "
                'untrained without model.warmup_iters > 0'
            )
        for name, value in (
            ('warmup_iters', warmup_iters),
            ('ramp_iters', ramp_iters),
        ):
            if value is not None:
                require_whole(f'model.{name}', value, 0)
        require(
            'model.mix',
            mix,
            'a list of configs',
            lambda x: all(isinstance(cfg, dict) for cfg in x),
        )
        require(
            'model.consistency',
            consistency,
            'the config of a loss, or a list of some',
            lambda x: (
                isinstance(x, dict)
                or (len(x) and all(isinstance(cfg, dict) for cfg in x))
            ),
        )
        require(
            'model.tvat',
            tvat,
            'None or a config',
            lambda x: x is None or isinstance(x, dict),
        )
        require(
            'model.tvat_with',
            tvat_with,
            "'teachers' or 'active'",
            lambda x: x in ('teachers', 'active'),
        )
        require_number('model.unsup_weight', unsup_weight, 0)
        require(
            'model.freeze_backbone',
            freeze_backbone,
            'True or False',
            lambda x: isinstance(x, bool),
        )

        refuse(segmentor)
        self.segmentor = MODELS.build(copy.deepcopy(segmentor))
        self.out_channels = self.segmentor.out_channels
        if self.out_channels == 1:
            raise ValueError(
                'The decode head has one channel and a sigmoid; PSMT needs a '
                'softmax over at least 2: set num_classes=2 in decode_head '
                '(and auxiliary_head), no out_channels, and use_sigmoid=False '
                'in its losses, give the data sets two classes, such as '
                "metainfo=dict(classes=('background', 'object'), ...), and "
                'masks of 0 and 1 (255 where unknown)'
            )
        self.teachers = Teachers(segmentor, **teachers)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            freeze_(self.segmentor, self.teachers)
        # DDP would wait for their gradients after the warm-up, too.
        self._ddp_params_and_buffers_to_ignore = [
            name for name in self.state_dict() if name.startswith('teachers.')
        ]
        # What set_schedule fills in is None here.
        self.given = dict(
            warmup_iters=warmup_iters,
            ramp_iters=ramp_iters,
            decay=teachers.get('decay'),
            alternate_every=teachers.get('alternate_every'),
        )
        self.warmup_iters = warmup_iters or 0
        self.tvat_with = tvat_with
        self.tvat = (
            None if tvat is None else build_tvat(tvat, self.out_channels)
        )
        if self.tvat is not None:
            self.tap = HeadTap(tapped_head(self.segmentor), perturb_at)
        self.mix = [build_mix(cfg, self.out_channels) for cfg in mix]
        self.consistency = build_consistency(
            consistency,
            self.out_channels,
            tapped_head(self.segmentor).ignore_index,
        )
        self.unsup_weight = unsup_weight
        self.ramp_iters = ramp_iters or 0
        names = (
            [predict_with] if isinstance(predict_with, str) else predict_with
        )
        require(
            'model.predict_with',
            predict_with,
            f'some of {[*self.nets]}',
            lambda _: names and {*names} <= {*self.nets},
        )
        self.predict_with = [*names]
        before_loading(self, spread_plain_weights)
        if one_pass is None:
            one_pass = splits_losses(self.segmentor) and bool(
                self.data_preprocessor.size
            )
        elif one_pass:
            check_one_pass(self.segmentor)
            require(
                'model.data_preprocessor.size',
                self.data_preprocessor.size,
                'the (height, width) of all images with model.one_pass=True',
                bool,
            )
        self.one_pass = one_pass
        self.backward: Optional[Callable[[Tensor], None]] = None
        # summed until EarlyWarningHook reads them, see confidence_stats
        self.label_counts: Union[int, Tensor] = 0
        self.keep_logits = False  # SemiSegTTAModel needs them
        self._iter: Optional[int] = None
        self.train()

    @property
    def iter(self) -> Optional[int]:
        """int: The iteration; the end of the warm-up freezes the teachers."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = value
        self.teachers.age = max(value - self.warmup_iters, 0)
        if value >= self.warmup_iters and self.teachers.warming_up:
            self.teachers.freeze()

    def set_schedule(
        self,
        max_iters: int,
        iters_per_pass: int,
        iters_per_update: int = 1,
        trained: bool = False,
    ) -> None:
        """Fill in the lengths that follow the training.

        Args:
            max_iters (int): Iterations of the training.
            iters_per_pass (int): Iterations of one pass over the unlabeled
                images.
            iters_per_update (int): Iterations whose gradients make one step
                of the optimizer.
            trained (bool): Whether the training begins with trained weights,
                which need no warm-up.
        """
        teachers = self.teachers
        teachers.iters_per_update = iters_per_update
        if self.given['warmup_iters'] is None:
            trained = trained and not teachers.independent
            self.warmup_iters = 0 if trained else round(WARMUP * max_iters)
        if self.given['ramp_iters'] is None:
            self.ramp_iters = round(RAMP * max_iters)
        rest = max(max_iters - self.warmup_iters, 1)
        every = self.given['alternate_every'] or min(
            iters_per_pass, max(round(TURN * rest), 1)
        )
        # else all steps may fall into the turns of one teacher
        steps = math.ceil(every / iters_per_update)
        teachers.alternate_every = steps * iters_per_update
        if self.given['decay'] is None:
            updates = rest / len(teachers) / iters_per_update
            teachers.decay = min(0.996, 1 - 1 / max(MEMORY * updates, 1))

    @property
    def schedule(self) -> dict:
        """dict: The lengths that :meth:`set_schedule` may fill in."""
        return dict(
            warmup_iters=self.warmup_iters,
            ramp_iters=self.ramp_iters,
            decay=self.teachers.decay,
            alternate_every=self.teachers.alternate_every,
        )

    def keep_schedule(self, schedule: dict) -> None:
        """Go on with the lengths of an earlier start, where none are given.

        Args:
            schedule (dict): What :attr:`schedule` was.
        """
        for name, value in schedule.items():
            if self.given.get(name, value) is None:
                self.given[name] = value
                owner = self if hasattr(self, name) else self.teachers
                setattr(owner, name, value)

    def __getattr__(self, name: str) -> Any:
        if name == 'backbone':
            raise AttributeError(
                'PSMT has no backbone, its nets have: model.segmentor. An '
                'optimizer with layer decay needs optim_wrapper.constructor='
                "'PSMTLayerDecayOptimizerConstructor'"
            )
        return super().__getattr__(name)

    @property
    def nets(self) -> dict:
        """dict[str, list[nn.Module]]: Whose logits a prediction averages."""
        nets = {'teachers': list(self.teachers), 'student': [self.segmentor]}
        for i, teacher in enumerate(self.teachers, 1):
            nets[f'teacher{i}'] = [teacher]
        return nets

    def init_weights(self) -> None:
        """Initialize the student, then the teachers.

        Raises:
            ValueError: If pretrained weights do not fit the backbone.
        """
        with must_fit(self.segmentor.backbone):
            super().init_weights()
        self.teachers.init_from(self.segmentor)

    def train(self, mode: bool = True) -> 'PSMT':
        """Keep a frozen backbone in eval, dropout included."""
        super().train(mode)
        if self.freeze_backbone:
            self.segmentor.backbone.eval()
        return self

    def encoded_once(self) -> AbstractContextManager:
        """Context in which a shared backbone sees the same images once."""
        return (
            once(self.segmentor.backbone)
            if self.freeze_backbone
            else nullcontext()
        )

    def update_teacher(self) -> None:
        """One EMA step of the active teacher towards the student.

        During the warm-up copies stay copies and independent teachers learn
        by themselves.
        """
        if self.iter >= self.warmup_iters:
            self.teachers.follow(self.segmentor)
        else:
            self.teachers.copy(self.segmentor)

    def perturbed(self) -> AbstractContextManager:
        """Context in which the student's feature is adversarial."""
        if self.tvat is None:
            return nullcontext()
        return self.tap.perturbed(lambda feat: self.tvat(feat, self.decode))

    def decode(self, feat: Tensor) -> Tensor:
        """Logits from a feature at the site of the tap, by ``tvat_with``."""
        judges = (
            self.teachers.by_turn[:1]
            if self.tvat_with == 'active'
            else self.teachers
        )
        return ensemble(
            *(
                self.tap.decode(tapped_head(teacher), feat)
                for teacher in judges
            )
        )

    @torch.no_grad()
    def pseudo_logits(self, images: Tensor) -> Tensor:
        """The teachers' logits (N, K, H, W) for images (N, 3, H, W)."""
        with self.encoded_once():
            core, *assist = (
                logits_of(net, images) for net in self.teachers.by_turn
            )
        return self.upsample(
            ensemble(core, *assist, topk=self.teachers.topk), images
        )

    def logits(self, net: nn.Module, images: Tensor) -> Tensor:
        """Logits (N, K, H, W) of one segmentor for images (N, 3, H, W)."""
        return self.upsample(logits_of(net, images), images)

    def upsample(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits (N, K, h, w) at the size of the images (N, 3, H, W)."""
        return resize(
            logits,
            size=images.shape[2:],
            mode='bilinear',
            align_corners=self.segmentor.align_corners,
        )

    def loss(self, inputs: dict, data_samples: dict) -> dict:
        """Losses of one batch from :class:`SemiSegDataPreProcessor`.

        The warm-up of independent teachers calls ``self.backward``, if the
        hook has set it, with the loss of each: their gradients are there when
        it returns.

        Args:
            inputs (dict): Tensors ``labeled``, ``weak`` and ``strong``
                (N, 3, H, W) and ``valid`` (N, H, W); ``labeled_weak`` too
                during the warm-up of independent teachers.
            data_samples (dict): Samples of each view. Labels of unlabeled
                images, where they exist, serve the log only.

        Returns:
            dict: ``sup.*`` of the student's heads, and ``unsup.*``: the
            weighted ``loss``, its ``weight``, the ``active`` teacher, the
            share of ``confident`` pixels and, of those, the ``correct``.
        """
        if self.iter is None:
            raise RuntimeError(
                'PSMT does not know the iteration: add '
                "dict(type='TeacherEMAHook') to custom_hooks"
            )
        if not isinstance(inputs, dict):
            raise ValueError(
                'PSMT trains on pairs of images: give train_dataloader '
                "dataset=dict(type='SemiSegDataset', labeled=..., "
                "unlabeled=...) and sampler=dict(type='PairSampler')"
            )
        labeled = inputs['labeled'], data_samples['labeled']
        with fork_rng(self.iter, labeled[0].device) as rng:
            if self.iter < self.warmup_iters:
                warm = self.teachers.warmup_loss(
                    inputs, data_samples, self.backward
                )
                sup = self.segmentor.loss(*labeled)
                return {**add_prefix(sup, 'sup'), **warm}
            if self.tvat is not None:
                self.tap.verify(self.teachers[0], inputs['weak'])
            targets = self.pseudo_logits(inputs['weak'])
            stats = self._stats(targets, inputs, data_samples)
            images, valid = inputs['strong'], inputs['valid']
            for mix in self.mix:
                images, targets, valid = mix(images, targets, valid, rng)

            if self.one_pass:
                with self.perturbed():
                    sup, logits = one_pass(self.segmentor, *labeled, images)
                logits = self.upsample(logits, images)
            else:
                with self.perturbed():
                    sup = self.segmentor.loss(*labeled)
                with self.perturbed():
                    logits = self.logits(self.segmentor, images)
            unsup = self.consistency(logits, targets, valid)

        weight = self.unsup_weight * ramp(
            self.iter - self.warmup_iters, self.ramp_iters
        )
        stats.update(
            loss=weight * unsup,
            weight=unsup.new_full((), weight),
            active=unsup.new_full((), self.teachers.active + 1),
        )
        return {**add_prefix(sup, 'sup'), **add_prefix(stats, 'unsup')}

    def _stats(
        self, targets: Tensor, inputs: dict, data_samples: dict
    ) -> dict:
        samples = data_samples['weak']
        truth = (
            torch.cat([sample.gt_sem_seg.data for sample in samples])
            if all('gt_sem_seg' in sample for sample in samples)
            else None
        )
        stats = confidence_stats(
            targets,
            self.consistency.threshold,
            inputs['valid'],
            truth,
            tapped_head(self.segmentor).ignore_index,
            getattr(self.consistency, 'per_class', False),
        )
        self.label_counts = self.label_counts + stats.pop('counts')
        return stats

    def predict(
        self, inputs: Tensor, data_samples: OptSampleList = None
    ) -> SampleList:
        """See :func:`mmseg_psmt.models.prediction.predict`."""
        nets = {name: self.nets[name] for name in self.predict_with}
        with self.encoded_once():
            return predict(nets, inputs, data_samples, self.keep_logits)

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: List[dict]
    ) -> Tensor:
        """Logits (N, K, H, W) of the first of ``predict_with``."""
        return mean_logits(
            self.nets[self.predict_with[0]],
            lambda net: net.encode_decode(inputs, batch_img_metas),
        )

    def extract_feat(self, inputs: Tensor) -> List[Tensor]:
        """Features of the student."""
        return self.segmentor.extract_feat(inputs)

    def _forward(
        self, inputs: Tensor, data_samples: OptSampleList = None
    ) -> Tensor:
        return mean_logits(
            self.nets[self.predict_with[0]], lambda net: logits_of(net, inputs)
        )
