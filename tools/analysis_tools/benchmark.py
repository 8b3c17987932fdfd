"""Time a training step of PS-MT against what it cannot do without."""

import argparse
import copy
import gc
import json
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from mmengine.config import Config, DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time the training step of a config on drawn images '
        '("step", through data preprocessor, train_step and hooks), the '
        'floor ("floor": the student forward and backward on all images of a '
        'batch in one pass, the teachers forward on the unlabeled ones, the '
        'decoder passes of T-VAT, the optimizer), the released step ("port", '
        'in float32) and training of mmseg on as many labeled images '
        '("supervised"), one after the other in each round. Without a GPU '
        'the times are CPU seconds.'
    )
    parser.add_argument('config', help='of a PSMT model')
    parser.add_argument(
        '--crop',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='sizes of square crops; default: crop_size of the config',
    )
    parser.add_argument(
        '--batch',
        type=int,
        nargs='+',
        metavar='N',
        help='labeled images per process, with as many unlabeled ones; '
        'default: train_dataloader.batch_size of the config',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=20,
        help='that are timed, after three; 20 if unset',
    )
    parser.add_argument(
        '--amp',
        choices=['float16', 'bfloat16'],
        help='autocast of all but the port, needs a GPU',
    )
    for option in '--channels-last', '--compile':
        parser.add_argument(option, action='store_true', help='see SpeedHook')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for results.json and a trace of each size, which '
        'chrome://tracing and ui.perfetto.dev open',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='as in tools/train.py, such as model.one_pass=True',
    )
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'the config {args.config} does not exist')
    for name in 'crop', 'batch', 'rounds':
        if min(np.atleast_1d(getattr(args, name) or 1)) < 1:
            parser.error(f'--{name} needs whole numbers of at least 1')
    if args.out and args.out.is_file():
        parser.error(f'--out {args.out} is a file, not a folder')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

import mmengine
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from mmseg.registry import DATASETS, LOOPS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import profile, record_function
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mmseg_psmt.engine.hooks import CheckFiniteHook, SpeedHook
from mmseg_psmt.launch import commit
from mmseg_psmt.models import psmt
from mmseg_psmt.models.head_tap import HeadTap

WARM_UP, PROFILED = 3, 6  # rounds, steps
PARTS = (
    'preprocessor',
    'teachers',
    'statistics of pseudo labels',
    'CutMix',
    'student forward',
    'T-VAT',
    'Conf-CE',
    'backward',
    'check that all is finite',
    'optimizer',
    'EMA',
    'hooks and logging',
    'rest',
)


@DATASETS.register_module(force=True)
class DrawnPairs(Dataset):
    """Random images and labels in place of the data of a config."""

    def __init__(self, crop: int, num_classes: int, num_pairs: int):
        rng = np.random.default_rng(0)
        self.labeled = self.unlabeled = range(num_pairs)
        self.metainfo = dict(classes=[*map(str, range(num_classes))])

        def view() -> dict:
            image = rng.integers(256, size=(3, crop, crop), dtype=np.uint8)
            labels = rng.integers(num_classes, size=(1, crop, crop))
            return dict(
                inputs=torch.from_numpy(image),
                data_samples=SegDataSample(
                    gt_sem_seg=PixelData(data=torch.from_numpy(labels)),
                    metainfo=dict(img_shape=(crop, crop)),
                ),
            )

        self.pairs = [
            dict(labeled=view(), weak=view(), strong=view())
            for _ in range(num_pairs)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, pair: tuple) -> dict:
        return self.pairs[pair[0]]


class Nets:
    """A student, its teachers and their optimizer, apart from PSMT's."""

    def __init__(self, runner: Runner, speed: SpeedHook, optim: dict):
        model, cfg = runner.model, runner.cfg.model.segmentor
        self.preprocessor = model.data_preprocessor
        nets = nn.ModuleList(
            MODELS.build(copy.deepcopy(cfg))
            for _ in range(1 + len(model.teachers))
        )
        nets = revert_sync_batchnorm(nets).to(self.preprocessor.device)
        speed.hasten(nets)
        self.student, *self.teachers = nets
        for teacher in self.teachers:
            teacher.eval().requires_grad_(False)
        self.optim = build_optim_wrapper(self.student, optim)
        self.model = model
        if model.tvat is not None:
            self.tap = HeadTap(self.student.decode_head, model.tap.site)

    def upsampled(self, logits: Tensor, images: Tensor) -> Tensor:
        return resize(
            logits,
            size=images.shape[2:],
            mode='bilinear',
            align_corners=self.student.align_corners,
        )

    def decode(self, judges: List[nn.Module], feat: Tensor) -> Tensor:
        """Mean logits of some teachers from a feature at T-VAT's place."""
        logits = (self.tap.decode(net.decode_head, feat) for net in judges)
        return sum(logits) / len(judges)


def stacked_labels(samples: List[SegDataSample]) -> Tensor:
    return torch.cat([sample.gt_sem_seg.data for sample in samples])


class Supervised(Nets):
    """Stock training of mmseg on as many images, all of them labeled."""

    def __init__(self, runner: Runner, speed: SpeedHook):
        super().__init__(runner, speed, runner.cfg.optim_wrapper)
        del self.teachers
        self.student.data_preprocessor = self.preprocessor

    def __call__(self, batch: dict) -> None:
        views = batch['labeled'], batch['strong']
        self.student.train_step(
            {
                name: sum((view[name] for view in views), [])
                for name in views[0]
            },
            self.optim,
        )


class Floor(Nets):
    """What PS-MT cannot do without, and nothing else."""

    def __init__(self, runner: Runner, speed: SpeedHook, batch: dict):
        super().__init__(runner, speed, runner.cfg.optim_wrapper)
        batch = self.preprocessor(batch, True)
        images, samples = batch['inputs'], batch['data_samples']
        self.weak = images['weak']
        self.images = torch.cat([images['labeled'], images['strong']])
        self.labels = stacked_labels(samples['labeled'] + samples['strong'])

    def __call__(self, batch: dict, tvat: bool = True) -> None:
        student, labeled = self.student, len(self.weak)
        perturbed = self.tap.perturbed(self.attack) if tvat else nullcontext()
        with self.optim.optim_context(student):
            with torch.no_grad():
                for teacher in self.teachers:
                    teacher(self.weak)
            feats = student.extract_feat(self.images)
            with perturbed:
                logits = [(student.decode_head(feats), self.labels)]
            if student.with_auxiliary_head:
                feats = [feat[:labeled] for feat in feats]
                aux = student.auxiliary_head
                for head in aux if isinstance(aux, nn.ModuleList) else [aux]:
                    logits.append((head(feats), self.labels[:labeled]))
            loss = sum(
                F.cross_entropy(self.upsampled(x, self.images), labels)
                for x, labels in logits
            )
        self.optim.update_params(loss)

    def attack(self, feat: Tensor) -> Tensor:
        """A gradient by the feature, of as many decodings as T-VAT has."""
        judges = self.teachers
        if self.model.tvat_with == 'active':
            judges = judges[:1]
        with torch.autocast(feat.device.type, enabled=False):
            feat = feat.detach().float()
            with torch.no_grad():
                clean = self.decode(judges, feat).softmax(1)
            feat.requires_grad_()
            for _ in range(getattr(self.model.tvat, 'num_iters', 1)):
                with torch.enable_grad():
                    log = self.decode(judges, 1.1 * feat).log_softmax(1)
                    loss = F.kl_div(log, clean, reduction='sum')
                (gradient,) = torch.autograd.grad(loss, feat)
        return gradient


class Port(Nets):
    """The step of the released trainer, written anew from its description.

    In float32 and with separate passes; teachers in training mode; T-VAT
    judges logits at the size of the images, where the step has it; the EMA
    goes tensor by tensor; losses and areas of each iteration go to the host.
    """

    def __init__(self, runner: Runner):
        optim = dict(runner.cfg.optim_wrapper, type='OptimWrapper')
        for key in 'dtype', 'loss_scale':  # of AmpOptimWrapper
            optim.pop(key, None)
        super().__init__(runner, SpeedHook(), optim)
        self.rng = np.random.default_rng(0)
        for teacher in self.teachers:
            teacher.train()

    def __call__(self, batch: dict) -> None:
        batch = self.preprocessor(batch, True)
        images, samples = batch['inputs'], batch['data_samples']
        weak, strong, valid = (images[x] for x in ('weak', 'strong', 'valid'))
        with torch.no_grad():
            targets = sum(
                self.upsampled(teacher(weak), weak)
                for teacher in self.teachers
            ) / len(self.teachers)
        for mix in self.model.mix:
            strong, targets, valid = mix(strong, targets, valid, self.rng)
        labels = stacked_labels(samples['labeled'])
        known = self.perturbed(images['labeled'])
        unknown = self.perturbed(strong)
        sup = F.cross_entropy(known, labels, ignore_index=255)
        unsup = self.model.consistency(unknown, targets, valid)
        self.optim.update_params(sup + unsup)
        student = self.student.state_dict()
        for name, mean in self.teachers[0].state_dict().items():
            mean.copy_(0.996 * mean + 0.004 * student[name])
        self.metrics = [
            sup.item(),
            unsup.item(),
            *self.areas(known, labels),
            *self.areas(unknown, stacked_labels(samples['weak'])),
        ]

    def perturbed(self, images: Tensor) -> Tensor:
        """The student's logits (N, K, H, W) of images (N, 3, H, W)."""

        def unit(d: Tensor) -> Tensor:
            norm = d.flatten(1).norm(dim=1) + 1e-8
            return d / norm.view(-1, *[1] * (d.dim() - 1))

        def decode(feat: Tensor) -> Tensor:
            return self.upsampled(self.decode(self.teachers, feat), images)

        def attack(feat: Tensor) -> Tensor:
            feat = feat.detach()
            with torch.no_grad():
                clean = decode(feat).softmax(1)
            d = (1e-6 * unit(torch.rand_like(feat) - 0.5)).requires_grad_()
            with torch.enable_grad():
                log = decode(feat + d).log_softmax(1)
                loss = F.kl_div(log, clean, reduction='batchmean')
            (d,) = torch.autograd.grad(loss, d)
            return 2 * unit(d)

        tapped = self.model.tvat is not None
        with self.tap.perturbed(attack) if tapped else nullcontext():
            return self.upsampled(self.student(images), images)

    def areas(self, logits: Tensor, labels: Tensor) -> List[np.ndarray]:
        """Intersection and union of each class, on the host."""
        num, guess = logits.size(1), logits.argmax(1)
        hit, found, there = (
            torch.histc(x.float(), num, 0, num - 1)
            for x in (guess[guess == labels], guess, labels)
        )
        return [hit.cpu().numpy(), (found + there - hit).cpu().numpy()]


@LOOPS.register_module(force=True)
class BenchmarkLoop(IterBasedTrainLoop):
    """Runs the step and what it is compared with in turn, measuring each."""

    def __init__(self, speed: dict, rounds: int, **kwargs):
        super().__init__(max_iters=WARM_UP + rounds + 2 + PROFILED, **kwargs)
        self.speed = SpeedHook(**speed)
        self.rounds = rounds
        self.cases = {}
        self.seconds = defaultdict(list)
        self.peak = defaultdict(int)
        self.flops = {}

    def run_iter(self, batch: dict) -> None:
        step, number = super().run_iter, self._iter
        if not self.cases:
            floor = Floor(self.runner, self.speed, batch)
            plain = partial(floor, tvat=False)
            self.cases = {'step': step, 'floor': plain}
            if self.runner.model.tvat is not None:
                self.cases.update({'floor': floor, 'floor, no T-VAT': plain})
            self.cases['port'] = Port(self.runner)
            self.cases['supervised'] = Supervised(self.runner, self.speed)
        if number == WARM_UP + self.rounds:
            self.inspect(batch)
            return
        for name in sorted(self.cases, reverse=number % 2):
            seconds, peak = measured(self.cases[name], batch)
            if number >= WARM_UP:
                self.seconds[name].append(seconds)
                self.peak[name] = max(self.peak[name], peak)

    def inspect(self, batch: dict) -> None:
        """Arithmetic, and the parts of a step."""
        for name, case in self.cases.items():
            with FlopCounterMode(
                display=False,
                custom_mapping={
                    torch.ops.aten.convolution_backward: conv_backward_flop
                },
            ) as counter:
                case(batch)
            self.flops[name] = counter.get_total_flops()
        annotate(self.runner)
        with profile(with_stack=False) as self.profile:
            for _ in range(PROFILED):
                with record_function('rest'):
                    self.cases['step'](batch)
                    synchronize()


def conv_backward_flop(
    grad: torch.Size,
    x: torch.Size,
    weight: torch.Size,
    *args: Any,
    out_shape: Any = None,
) -> int:
    """Of each gradient as many as forward, with groups, too.

    torch counts the gradient of a weight as if there were no groups.
    """
    transposed, wanted = args[4], args[7]
    return sum(wanted[:2]) * conv_flop_count(x, weight, grad, transposed)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measured(case: Callable[[dict], None], batch: dict) -> Tuple[float, int]:
    """Seconds, and on CUDA the bytes that were allocated meanwhile.

    Without CUDA they are CPU seconds, which other jobs stretch least.
    """
    cuda, before = torch.cuda.is_available(), 0
    clock = time.perf_counter if cuda else time.process_time
    synchronize()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = clock()
    case(batch)
    synchronize()
    seconds = clock() - start
    return seconds, cuda and torch.cuda.max_memory_allocated() - before


def annotate(runner: Runner) -> None:
    """Name the parts of a step for the profiler; each waits for the device."""
    model, optim = runner.model, runner.optim_wrapper

    def timed(part: str, call: Callable) -> Callable:

        def run(*args, **kwargs):
            with record_function(part):
                out = call(*args, **kwargs)
                synchronize()
            return out

        return run

    owners = [
        (runner, 'call_hook', 'hooks and logging'),
        (model.data_preprocessor, 'forward', 'preprocessor'),
        (model, 'pseudo_logits', 'teachers'),
        (model, '_stats', 'statistics of pseudo labels'),
        (model.segmentor, 'loss', 'student forward'),
        (model, 'logits', 'student forward'),
        (psmt, 'one_pass', 'student forward'),
        (model.consistency, 'forward', 'Conf-CE'),
        (optim, 'backward', 'backward'),
        (optim, 'step', 'optimizer'),
        (optim, 'zero_grad', 'optimizer'),
        (model, 'update_teacher', 'EMA'),
    ]
    if model.tvat is not None:
        owners.append((model.tvat, 'forward', 'T-VAT'))
    for hook in runner.hooks:
        if isinstance(hook, CheckFiniteHook):
            owners += [
                (hook, '_check', 'check that all is finite'),
                (hook, 'before_train_iter', 'check that all is finite'),
            ]
    for owner, name, part in owners:
        setattr(owner, name, timed(part, getattr(owner, name)))
    model.mix = [timed('CutMix', mix) for mix in model.mix]


def shares(profiler: profile) -> Dict[str, float]:
    """Seconds per step of each part, without the parts within it."""
    events = sorted(  # a GPU's timeline repeats those of the host
        (
            event
            for event in profiler.events()
            if event.is_user_annotation
            and event.device_type == DeviceType.CPU
            and event.name in PARTS
        ),
        key=lambda event: event.time_range.start,
    )
    seconds, around = dict.fromkeys(PARTS, 0.0), []
    for event in events:
        while around and event.time_range.start >= around[-1].time_range.end:
            around.pop()
        spent = event.time_range.elapsed_us() / 1e6 / PROFILED
        seconds[event.name] += spent
        if around:
            seconds[around[-1].name] -= spent
        around.append(event)
    return {part: spent for part, spent in seconds.items() if spent}


def prepare(
    args: argparse.Namespace, crop: int, batch: int, work_dir: str
) -> Config:
    """The config on drawn images, beyond its warm-up."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    if cfg.model.type != 'PSMT':
        raise SystemExit(
            f'{args.config} has a model of type {cfg.model.type}, not PSMT'
        )
    if not (crop or cfg.get('crop_size')):
        raise SystemExit(f'{args.config} has no crop_size: give --crop')
    crop = crop or cfg.crop_size[0]
    batch = batch or cfg.train_dataloader.batch_size
    segmentor = cfg.model.segmentor
    head = segmentor.decode_head
    if isinstance(head, list):
        raise SystemExit(
            f'{args.config} has a cascade of decode heads, whose '
            'floor is not known'
        )
    segmentor.pretrained = None
    segmentor.backbone.pop('init_cfg', None)
    cfg.model.update(warmup_iters=0, ramp_iters=0)
    cfg.model.setdefault('teachers', {})['init'] = 'copy'
    cfg.model.setdefault('data_preprocessor', {})['size'] = (crop, crop)
    cfg.optim_wrapper.pop('accumulative_counts', None)
    if args.amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=args.amp)
    speed = dict(channels_last=args.channels_last, compile=args.compile)
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    cfg.default_hooks.checkpoint.pop('save_best', None)
    for key in (
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
        'test_cfg',
        'test_dataloader',
        'test_evaluator',
        'auto_scale_lr',
    ):
        cfg.pop(key, None)
    cfg.train_dataloader = dict(
        batch_size=batch,
        dataset=dict(
            type='DrawnPairs',
            crop=crop,
            num_pairs=batch,
            num_classes=head.num_classes,
        ),
        sampler=dict(type='PairSampler'),
        num_workers=0,
    )
    cfg.train_cfg = dict(type='BenchmarkLoop', speed=speed, rounds=args.rounds)
    cfg.custom_hooks = [
        *(
            hook
            for hook in cfg.custom_hooks
            if hook.type in ('TeacherEMAHook', 'CheckFiniteHook')
        ),
        dict(type='SpeedHook', **speed),
    ]
    cfg.update(
        work_dir=work_dir,
        load_from=None,
        resume=False,
        vis_backends=[],
        log_level='ERROR',
    )
    cfg.visualizer.vis_backends = []
    return cfg


def results(loop: BenchmarkLoop, batch: int) -> dict:
    """What was measured, as plain numbers."""
    cases = {}
    for name in loop.cases:
        seconds = loop.seconds[name]
        ratios = np.divide(seconds, loop.seconds['floor'])
        to_step = np.divide(seconds, loop.seconds['step'])
        median = float(np.median(seconds))
        cases[name] = dict(
            seconds=median,
            of_floor=float(np.median(ratios)),
            quartiles=np.percentile(ratios, [25, 75]).tolist(),
            of_step=float(np.median(to_step)),
            images_per_second=2 * batch / median,
            gib=loop.peak[name] / 2**30,
            tflop=loop.flops[name] / 1e12,
        )
    return dict(cases=cases, parts=shares(loop.profile))


def table(crop: int, batch: int, result: dict) -> str:
    """Markdown of one size."""
    lines = [
        f'Crop {crop}, {batch} labeled + {batch} unlabeled images; the memory '
        'is without weights and state:',
        '',
        '| | ms | of the floor | quartiles | of the step | images/s | GiB | '
        'TFLOP |',
        '|---|--:|--:|--:|--:|--:|--:|--:|',
    ]
    for name, case in result['cases'].items():
        low, high = case['quartiles']
        lines.append(
            f'| {name} | {1e3 * case["seconds"]:.1f} | '
            f'{case["of_floor"]:.3f} | {low:.3f}-{high:.3f} | '
            f'{case["of_step"]:.3f} | '
            f'{case["images_per_second"]:.2f} | '
            + (f'{case["gib"]:.2f}' if case['gib'] else '–')
            + f' | {case["tflop"]:.3f} |'
        )
    whole = sum(result['parts'].values())
    lines += ['', '| part of the step | ms | share |', '|---|--:|--:|']
    return '\n'.join(
        lines
        + [
            f'| {part} | {1e3 * spent:.1f} | {spent / whole:.1%} |'
            for part, spent in result['parts'].items()
        ]
    )


def main() -> None:
    args = parse_args()
    if args.amp and not torch.cuda.is_available():
        raise SystemExit('--amp needs a GPU: leave it out')
    register_all_modules()
    where = dict(
        config=args.config,
        device=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f'CPU, {torch.get_num_threads()} threads',
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        commit=commit() or 'unknown',
        precision=args.amp or 'float32',
        channels_last=args.channels_last,
        compile=args.compile,
    )
    print('\n'.join(f'- {key}: {value}' for key, value in where.items()))
    sizes = []
    for crop, batch in product(args.crop or [None], args.batch or [None]):
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = prepare(args, crop, batch, work_dir)
            loop = Runner.from_cfg(cfg).train_loop
            loop.runner.train()
        crop, _ = cfg.model.data_preprocessor.size
        batch = cfg.train_dataloader.batch_size
        result = results(loop, batch)
        sizes.append(dict(crop=crop, batch=batch, **result))
        print(f'\n{table(crop, batch, result)}', flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            loop.profile.export_chrome_trace(
                f'{args.out}/trace_{crop}_{batch}.json.gz'
            )
        del loop
        gc.collect()  # of the networks, before those of the next size
    if args.out:
        (args.out / 'results.json').write_text(
            json.dumps(dict(where, sizes=sizes), indent=1)
        )


if __name__ == '__main__':
    main()
