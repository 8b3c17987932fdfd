"""Perturbed and Strict Mean Teachers."""
import copy
from contextlib import contextmanager, nullcontext
from typing import Iterator, List, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn as nn
from mmengine.dist import all_reduce, get_rank
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.models.utils import resize
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.utils import (
    ConfigType,
    OptConfigType,
    OptMultiConfig,
    OptSampleList,
    SampleList,
    add_prefix,
)
from torch import Tensor

from .ema import ema_update_
from .head_tap import HeadTap
from .pseudo_label import confidence_stats, ensemble
from .ramp import ramp

NETS = ('teachers', 'student', 'teacher1', 'teacher2')


@MODELS.register_module()
class PSMT(BaseSegmentor):
    """Perturbed and Strict Mean Teachers (CVPR 2022, arXiv 2111.12903).

    Trains any per-pixel :class:`EncoderDecoder` of mmseg, the student, on
    labelled and unlabelled images with the help of EMA teachers of the same
    architecture. :class:`TeacherEMAHook` tells it the iteration and updates
    the teachers.

    Args:
        segmentor (dict): Config of the student.
        data_preprocessor (dict, optional): What differs from that of
            ``segmentor``, such as ``dict(size=crop_size)``.
        num_teachers (int): 1 or 2. Defaults to 2.
        teachers_init (str): 'copy' starts the teachers as copies of the
            student at the end of the warm-up; 'independent' initialises each
            by itself and trains it during the warm-up. Defaults to 'copy'.
        warmup_iters (int): Supervised iterations before all others. The
            student learns from the strong view of the labelled images,
            independent teachers from their view ``labeled_weak``. Defaults
            to 0.
        ema_decay (float): Defaults to 0.996.
        average_buffers (bool): Whether BN statistics follow the EMA too;
            False copies those of the student. Defaults to True.
        alternate_every (int, optional): Iterations until the other teacher
            becomes the active one, which learns from the student. Defaults
            to one pass over the unlabelled images.
        teacher_norm (str): The teachers' BN uses 'running' statistics or
            those of the 'batch'; neither moves them. Defaults to 'running'.
        assist_topk (int, optional): Classes per pixel for which the inactive
            teacher speaks, see :func:`ensemble`. Defaults to all.
        tvat (dict, optional): The feature perturbation. None for none.
        perturb (Sequence[str]): Images whose features it perturbs, of
            'labeled' and 'unlabeled'. Defaults to both.
        perturb_at (str, optional): See :class:`HeadTap`.
        mix (Sequence[dict]): Transforms that mix strong images and teacher
            logits alike. Defaults to one :class:`TeacherGuidedCutMix`.
        consistency (dict): The unsupervised loss.
        unsup_weight (float): Its weight after the ramp. Defaults to 1.
        ramp_iters (int): Iterations of the ramp. Defaults to 0.
        ramp_kind (str): See :func:`ramp`. Defaults to 'cosine'.
        predict_with (str | Sequence[str]): 'teachers' (the mean of their
            logits), 'student', 'teacher1' or 'teacher2'. The first of
            several gives ``pred_sem_seg``; each further one gives
            ``<name>_sem_seg``. Defaults to 'teachers'.
        init_cfg (dict, optional): See :class:`BaseModule`.
    """

    def __init__(self,
                 segmentor: ConfigType,
                 data_preprocessor: OptConfigType = None,
                 num_teachers: int = 2,
                 teachers_init: str = 'copy',
                 warmup_iters: int = 0,
                 ema_decay: float = 0.996,
                 average_buffers: bool = True,
                 alternate_every: Optional[int] = None,
                 teacher_norm: str = 'running',
                 assist_topk: Optional[int] = None,
                 tvat: OptConfigType = dict(type='TVAT'),
                 perturb: Sequence[str] = ('labeled', 'unlabeled'),
                 perturb_at: Optional[str] = None,
                 mix: Sequence[ConfigType] = (
                     dict(type='TeacherGuidedCutMix'), ),
                 consistency: ConfigType = dict(type='ConfCELoss'),
                 unsup_weight: float = 1.,
                 ramp_iters: int = 0,
                 ramp_kind: str = 'cosine',
                 predict_with: Union[str, Sequence[str]] = 'teachers',
                 init_cfg: OptMultiConfig = None):
        _check('num_teachers', num_teachers, num_teachers in (1, 2), '1 or 2')
        _check('teachers_init', teachers_init,
               teachers_init in ('copy', 'independent'),
               "'copy' or 'independent'")
        _check('warmup_iters', warmup_iters, warmup_iters >= 0, 'at least 0')
        if teachers_init == 'independent' and warmup_iters == 0:
            raise ValueError(
                "model.teachers_init='independent' leaves the teachers "
                'untrained without model.warmup_iters > 0')
        _check('ema_decay', ema_decay, 0 <= ema_decay <= 1, 'in [0, 1]')
        _check('alternate_every', alternate_every,
               alternate_every is None or alternate_every > 0,
               'None or positive')
        _check('teacher_norm', teacher_norm,
               teacher_norm in ('running', 'batch'), "'running' or 'batch'")
        _check('assist_topk', assist_topk,
               assist_topk is None or assist_topk > 0, 'None or positive')
        _check('perturb', perturb, set(perturb) <= {'labeled', 'unlabeled'},
               "a list of 'labeled' and 'unlabeled'")
        _check('unsup_weight', unsup_weight, unsup_weight >= 0, 'at least 0')
        ramp(0, ramp_iters, ramp_kind)
        names = ([predict_with]
                 if isinstance(predict_with, str) else list(predict_with))
        allowed = NETS[:2 + num_teachers]
        _check('predict_with', predict_with, names
               and set(names) <= set(allowed), f'one or more of {allowed}')

        super().__init__({
            **segmentor['data_preprocessor'],
            'type': 'SemiSegDataPreProcessor',
            **(data_preprocessor or {})
        }, init_cfg)
        self.segmentor = MODELS.build(copy.deepcopy(segmentor))
        if self.segmentor.out_channels == 1:
            raise ValueError(
                'The decode head has out_channels=1, a sigmoid; PSMT needs a '
                'softmax over at least 2 channels: set out_channels=2')
        self.teachers = nn.ModuleList(
            MODELS.build(copy.deepcopy(segmentor))
            for _ in range(num_teachers))
        self.teachers.requires_grad_(teachers_init == 'independent')
        # DDP would wait for their gradients after the warm-up, too.
        self._ddp_params_and_buffers_to_ignore = [
            name for name in self.state_dict() if name.startswith('teachers.')
        ]
        self._grad_handles: list = []

        self.teachers_init = teachers_init
        self.warmup_iters = warmup_iters
        self.ema_decay = ema_decay
        self.average_buffers = average_buffers
        self.alternate_every = alternate_every
        self.teacher_norm = teacher_norm
        self.assist_topk = assist_topk
        self.perturb = perturb
        self.tvat = MODELS.build(tvat) if tvat else None
        if self.tvat is not None:
            self.tap = HeadTap(self.segmentor.decode_head, perturb_at)
        self.mix = [TRANSFORMS.build(transform) for transform in mix]
        self.consistency = MODELS.build(consistency)
        self.out_channels = self.segmentor.out_channels
        self.unsup_weight = unsup_weight
        self.ramp_iters = ramp_iters
        self.ramp_kind = ramp_kind
        self.predict_with = names
        self.iter: Optional[int] = None
        self.train()

    def init_weights(self) -> None:
        """Initialise the student, then the teachers as ``teachers_init``."""
        super().init_weights()
        for teacher in self.teachers:
            if self.teachers_init == 'copy':
                teacher.load_state_dict(self.segmentor.state_dict())
            else:
                teacher.init_weights()

    def train(self, mode: bool = True) -> 'PSMT':
        """Teachers stay in eval, except while they warm up."""
        super().train(mode)
        warming_up = next(self.teachers.parameters()).requires_grad
        self.teachers.train(mode and warming_up)
        use_batch = mode and not warming_up and self.teacher_norm == 'batch'
        for module in self.teachers.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training |= use_batch
                module.track_running_stats = not use_batch
        return self

    def start_warmup(self) -> None:
        """Average the teachers' gradients over all ranks, as DDP does not."""
        self._grad_handles = [
            param.register_post_accumulate_grad_hook(
                lambda p: all_reduce(p.grad, 'mean'))
            for param in self.teachers.parameters() if param.requires_grad
        ]

    def end_warmup(self) -> None:
        """Freeze the teachers: from now on only the EMA moves them."""
        for handle in self._grad_handles:
            handle.remove()
        self._grad_handles = []
        self.teachers.requires_grad_(False)
        for param in self.teachers.parameters():
            param.grad = None
        self.train(self.training)

    @property
    def active(self) -> int:
        """int: Index of the teacher that learns from the student now."""
        if self.alternate_every is None:
            return 0
        passes = max(self.iter - self.warmup_iters, 0) // self.alternate_every
        return passes % len(self.teachers)

    def update_teacher(self) -> None:
        """One EMA step of the active teacher towards the student.

        During the warm-up copies stay copies and independent teachers stay
        as they are.
        """
        if self.iter >= self.warmup_iters:
            ema_update_(self.teachers[self.active], self.segmentor,
                        self.ema_decay, self.average_buffers)
        elif self.teachers_init == 'copy':
            for teacher in self.teachers:
                ema_update_(teacher, self.segmentor, decay=0.)

    @contextmanager
    def randomness(self, device: torch.device
                   ) -> Iterator[np.random.Generator]:
        """All random numbers inside follow from (seed, iteration, rank)."""
        rng = np.random.default_rng(
            [torch.initial_seed(), self.iter, get_rank()])
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            torch.manual_seed(int(rng.integers(2**62)))
            yield rng

    def perturbed(self, images: str):
        """Context in which the student's feature is adversarial."""
        if self.tvat is None or images not in self.perturb:
            return nullcontext()
        return self.tap.perturbed(lambda feat: self.tvat(feat, self.decode))

    def decode(self, feat: Tensor) -> Tensor:
        """The teachers' mean logits from a feature at the site of the tap."""
        return ensemble(*(self.tap.decode(teacher.decode_head, feat)
                          for teacher in self.teachers))

    @torch.no_grad()
    def pseudo_logits(self, images: Tensor) -> Tensor:
        """The teachers' logits (N, K, H, W) for images (N, 3, H, W)."""
        core = self.teachers[self.active](images)
        assist = (
            self.teachers[1 - self.active](images)
            if len(self.teachers) == 2 else None)
        return self.upsample(
            ensemble(core, assist, self.assist_topk), images)

    def upsample(self, logits: Tensor, images: Tensor) -> Tensor:
        return resize(
            logits,
            size=images.shape[2:],
            mode='bilinear',
            align_corners=self.segmentor.align_corners)

    def loss(self, inputs: dict, data_samples: dict) -> dict:
        """Losses of one batch from :class:`SemiSegDataPreProcessor`.

        Args:
            inputs (dict): Tensors ``labeled``, ``weak`` and ``strong``
                (N, 3, H, W) and ``valid`` (N, H, W); ``labeled_weak`` too
                during the warm-up.
            data_samples (dict): Samples of each view. Labels of unlabelled
                images, where they exist, serve the log only.

        Returns:
            dict: ``sup.*`` of the student's heads, and ``unsup.*``: the
            weighted ``loss``, its ``weight``, the ``active`` teacher, the
            share of ``confident`` pixels and, of those, the ``correct``.
        """
        if self.iter is None:
            raise RuntimeError(
                'PSMT does not know the iteration: add '
                "dict(type='TeacherEMAHook') to custom_hooks")
        with self.randomness(inputs['labeled'].device) as rng:
            if self.iter < self.warmup_iters:
                return self._warmup_loss(inputs, data_samples)
            targets = self.pseudo_logits(inputs['weak'])
            stats = self._stats(targets, inputs, data_samples)
            images, valid = inputs['strong'], inputs['valid']
            for mix in self.mix:
                images, targets, valid = mix(images, targets, valid, rng)

            with self.perturbed('labeled'):
                losses = add_prefix(
                    self.segmentor.loss(inputs['labeled'],
                                        data_samples['labeled']), 'sup')
            with self.perturbed('unlabeled'):
                logits = self.upsample(self.segmentor(images), images)

            weight = self.unsup_weight * ramp(
                self.iter - self.warmup_iters, self.ramp_iters, self.ramp_kind)
            unsup = self.consistency(logits, targets, valid)
            losses['unsup.loss'] = weight * unsup
            losses['unsup.weight'] = unsup.new_tensor(weight)
            losses['unsup.active'] = unsup.new_tensor(float(self.active + 1))
            return {**losses, **add_prefix(stats, 'unsup')}

    def _warmup_loss(self, inputs: dict, data_samples: dict) -> dict:
        losses = add_prefix(
            self.segmentor.loss(inputs['labeled'], data_samples['labeled']),
            'sup')
        if self.teachers_init == 'copy':
            return losses
        if 'labeled_weak' not in inputs:
            raise KeyError(
                'The warm-up trains the teachers on the weak view of the '
                'labelled images: end the labelled pipeline with '
                "dict(type='MultiView', labeled=[...], labeled_weak=[...])")
        for i, teacher in enumerate(self.teachers, 1):
            losses.update(
                add_prefix(
                    teacher.loss(inputs['labeled_weak'],
                                 data_samples['labeled_weak']), f'warm{i}'))
        return losses

    def _stats(self, targets: Tensor, inputs: dict,
               data_samples: dict) -> dict:
        samples = data_samples['weak']
        truth = (
            torch.cat([sample.gt_sem_seg.data for sample in samples])
            if all('gt_sem_seg' in sample for sample in samples) else None)
        return confidence_stats(targets, self.consistency.threshold,
                                inputs['valid'], truth,
                                self.segmentor.decode_head.ignore_index)

    def _nets(self, name: str) -> List[nn.Module]:
        return {
            'teachers': list(self.teachers),
            'student': [self.segmentor],
            'teacher1': [self.teachers[0]],
            'teacher2': [self.teachers[-1]],
        }[name]

    def predict(self,
                inputs: Tensor,
                data_samples: OptSampleList = None) -> SampleList:
        """Predict whole or sliding, as ``segmentor.test_cfg`` says.

        Args:
            inputs (Tensor): Images (N, 3, H, W).
            data_samples (list[SegDataSample], optional): With metainfo.

        Returns:
            list[SegDataSample]: With ``seg_logits`` and ``pred_sem_seg`` of
            the first of ``predict_with``, and ``<name>_sem_seg`` of each.
        """
        names = self.predict_with
        if data_samples is None:
            shape = inputs.shape[2:]
            metas = [
                dict(
                    ori_shape=shape,
                    img_shape=shape,
                    pad_shape=shape,
                    padding_size=[0, 0, 0, 0])
            ] * len(inputs)
            names = names[:1]
        for name in reversed(names):
            if data_samples is not None:
                metas = [sample.metainfo for sample in data_samples]
            logits = torch.stack([
                net.inference(inputs, metas) for net in self._nets(name)
            ]).mean(dim=0)
            data_samples = self.segmentor.postprocess_result(
                logits, data_samples)
            for sample in data_samples:
                sample.set_data({
                    f'{name}_sem_seg':
                    PixelData(data=sample.pred_sem_seg.data)
                })
        return data_samples

    def encode_decode(self, inputs: Tensor,
                      batch_img_metas: List[dict]) -> Tensor:
        """Logits (N, K, H, W) of the first of ``predict_with``."""
        return torch.stack([
            net.encode_decode(inputs, batch_img_metas)
            for net in self._nets(self.predict_with[0])
        ]).mean(dim=0)

    def extract_feat(self, inputs: Tensor) -> List[Tensor]:
        """Features of the student."""
        return self.segmentor.extract_feat(inputs)

    def _forward(self,
                 inputs: Tensor,
                 data_samples: OptSampleList = None) -> Tensor:
        return torch.stack([
            net(inputs) for net in self._nets(self.predict_with[0])
        ]).mean(dim=0)


def _check(name: str, value, fine: bool, rule: str) -> None:
    if not fine:
        raise ValueError(f'model.{name} must be {rule}, got {value!r}')
