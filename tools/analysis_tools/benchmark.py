"""Time a training step of PS-MT against what it cannot do without."""
import argparse
import copy
import gc
import json
import re
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple, Union

import mmengine
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from mmseg.registry import DATASETS, LOOPS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from mmseg_psmt.engine import CheckFiniteHook, SpeedHook
from mmseg_psmt.launch import commit
from mmseg_psmt.models import psmt
from mmseg_psmt.models.head_tap import HeadTap
from mmseg_psmt.models.t_vat import t_vat

WARM_UP, PROFILED = 3, 6  # rounds, steps
SYNCS = ('_local_scalar_dense', 'nonzero', 'masked_select', '_unique2',
         'bincount', 'is_nonzero')
PARTS = ('preprocessor', 'teachers', 'statistics of pseudo labels', 'CutMix',
         'student forward', 'T-VAT', 'Conf-CE', 'backward',
         'check that all is finite', 'optimizer', 'EMA', 'hooks and logging',
         'rest')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time the training step of a config on drawn images '
        '("step", through data preprocessor, train_step and hooks), the floor '
        '("floor": the student forward and backward on all images of a '
        'batch, the teachers forward on the unlabelled ones, the optimizer) '
        "and a plain port of the released trainer's step in float32 "
        '("port"), one after the other in each round.')
    parser.add_argument('config', help='of a PSMT model')
    parser.add_argument(
        '--crop', type=int, nargs='+', metavar='PIXELS',
        help='sizes of square crops; default: crop_size of the config')
    parser.add_argument(
        '--batch', type=int, nargs='+', metavar='N',
        help='labelled images per process, with as many unlabelled ones; '
        'default: train_dataloader.batch_size of the config')
    parser.add_argument(
        '--rounds',
        type=int,
        default=20,
        help='that are timed, after three; 20 if unset')
    parser.add_argument(
        '--amp', choices=['float16', 'bfloat16'],
        help='autocast of step and floor, needs a GPU')
    parser.add_argument(
        '--channels-last', action='store_true', help='see SpeedHook')
    parser.add_argument('--tf32', action='store_true', help='see SpeedHook')
    parser.add_argument(
        '--compile', action='store_true', help='see SpeedHook')
    parser.add_argument(
        '--no-port', action='store_true', help='leave the port out')
    parser.add_argument(
        '--out', type=Path, metavar='DIR',
        help='folder for results.json and a trace of each size, which '
        'chrome://tracing and ui.perfetto.dev open')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={},
        help='override settings of the config, as in tools/train.py')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'the config {args.config} does not exist')
    for name in 'crop', 'batch', 'rounds':
        if min(np.atleast_1d(getattr(args, name) or 1)) < 1:
            parser.error(f'--{name} needs whole numbers of at least 1')
    if args.amp and not torch.cuda.is_available():
        parser.error('--amp needs a GPU')
    if args.out and args.out.is_file():
        parser.error(f'--out {args.out} is a file, not a folder')
    return args


@DATASETS.register_module()
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
                    metainfo=dict(img_shape=(crop, crop))))

        self.pairs = [
            dict(labeled=view(), weak=view(), strong=view())
            for _ in range(num_pairs)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, pair: tuple) -> dict:
        return self.pairs[pair[0]]


class Nets:
    """A student, its teachers and their optimizer, independent of PSMT."""

    def __init__(self, runner: Runner, speed: SpeedHook, optim: dict):
        cfg = runner.cfg.model.segmentor
        nets = nn.ModuleList(
            MODELS.build(copy.deepcopy(cfg))
            for _ in range(1 + len(runner.model.teachers)))
        nets = revert_sync_batchnorm(nets).to(
            runner.model.data_preprocessor.device)
        speed.hasten(nets)
        self.student, *self.teachers = nets
        for teacher in self.teachers:
            teacher.eval().requires_grad_(False)
        self.optim = build_optim_wrapper(self.student, optim)
        self.preprocessor = runner.model.data_preprocessor
        self.mix = runner.model.mix

    def upsampled(self, logits: Tensor, images: Tensor) -> Tensor:
        return resize(logits, size=images.shape[2:], mode='bilinear',
                      align_corners=self.student.align_corners)


def stacked_labels(samples: List[SegDataSample]) -> Tensor:
    return torch.cat([sample.gt_sem_seg.data for sample in samples])


class Floor(Nets):
    """What PS-MT cannot do without, and nothing else."""

    def __init__(self, runner: Runner, speed: SpeedHook, batch: dict):
        super().__init__(runner, speed, runner.cfg.optim_wrapper)
        batch = self.preprocessor(batch, True)
        images, samples = batch['inputs'], batch['data_samples']
        self.weak = images['weak']
        self.images = torch.cat([images['labeled'], images['strong']])
        self.labels = stacked_labels(samples['labeled'] + samples['strong'])

    def __call__(self, batch: dict) -> None:
        student, labeled = self.student, len(self.weak)
        with self.optim.optim_context(student):
            with torch.no_grad():
                for teacher in self.teachers:
                    teacher(self.weak)
            feats = student.extract_feat(self.images)
            logits = [(student.decode_head(feats), self.labels)]
            if student.with_auxiliary_head:
                feats = [feat[:labeled] for feat in feats]
                aux = student.auxiliary_head
                for head in aux if isinstance(aux, nn.ModuleList) else [aux]:
                    logits.append((head(feats), self.labels[:labeled]))
            loss = sum(
                F.cross_entropy(self.upsampled(x, self.images), labels)
                for x, labels in logits)
        self.optim.update_params(loss)


class Port(Nets):
    """The step of the released trainer as its paper and code describe it.

    In float32 and with separate passes; T-VAT judges logits at the size of
    the images; the EMA goes tensor by tensor; metrics of each iteration go
    to the host.
    """

    def __init__(self, runner: Runner):
        optim = dict(runner.cfg.optim_wrapper, type='OptimWrapper')
        for key in 'dtype', 'loss_scale':  # of AmpOptimWrapper
            optim.pop(key, None)
        super().__init__(runner, SpeedHook(), optim)
        self.tap = HeadTap(self.student.decode_head)
        self.consistency = runner.model.consistency
        self.rng = np.random.default_rng(0)
        for teacher in self.teachers:
            teacher.train()

    def __call__(self, batch: dict) -> None:
        batch = self.preprocessor(batch, True)
        images, samples = batch['inputs'], batch['data_samples']
        with torch.no_grad():
            targets = sum(
                self.upsampled(teacher(images['weak']), images['weak'])
                for teacher in self.teachers) / len(self.teachers)
        strong, valid = images['strong'], images['valid']
        for mix in self.mix:
            strong, targets, valid = mix(strong, targets, valid, self.rng)

        known, labels = self.attacked(images['labeled']), stacked_labels(
            samples['labeled'])
        sup = F.cross_entropy(known, labels)
        unknown = self.attacked(strong)
        unsup = self.consistency(unknown, targets, valid)
        self.optim.update_params(sup + unsup)
        for name, mean in self.teachers[0].state_dict().items():
            value = self.student.state_dict()[name]
            mean.copy_(0.996 * mean + 0.004 * value)
        self.metrics = [
            sup.item(), unsup.item(),
            *self.measured(known, labels),
            *self.measured(unknown, stacked_labels(samples['weak']))
        ]

    def attacked(self, images: Tensor) -> Tensor:
        """The student's logits (N, K, H, W) of images (N, 3, H, W)."""

        def decode(feat: Tensor) -> Tensor:
            return sum(
                self.upsampled(self.tap.decode(net.decode_head, feat), images)
                for net in self.teachers) / len(self.teachers)

        with self.tap.perturbed(lambda feat: t_vat(
                feat, decode, xi=1e-6, norm_eps=1e-8, start='feature')):
            return self.upsampled(self.student(images), images)

    def measured(self, logits: Tensor, labels: Tensor) -> List[np.ndarray]:
        """Intersection and union of each class, on the host."""
        num, guess = logits.size(1), logits.max(1).indices
        areas = [
            torch.histc(x.float(), num, 0, num - 1)
            for x in (guess[guess == labels], guess, labels)
        ]
        return [
            areas[0].cpu().numpy(), (areas[1] + areas[2] - areas[0]).cpu()
            .numpy()
        ]


@LOOPS.register_module()
class BenchmarkLoop(IterBasedTrainLoop):
    """Runs the step, the floor and the port in turn and measures them."""

    def __init__(self, speed: dict, port: bool, rounds: int, **kwargs):
        super().__init__(max_iters=WARM_UP + rounds + 2 + PROFILED, **kwargs)
        self.speed = SpeedHook(**speed)
        self.port = port
        self.rounds = rounds
        self.cases = {}
        self.seconds = defaultdict(list)
        self.peak = defaultdict(int)
        self.flops = {}

    def run_iter(self, batch: dict) -> None:
        step, number = super().run_iter, self._iter
        if not self.cases:
            self.cases = dict(step=step, floor=Floor(
                self.runner, self.speed, batch))
            if self.port:
                self.cases['port'] = Port(self.runner)
        if number == WARM_UP + self.rounds:
            self.inspect(batch)
            return
        for name in sorted(self.cases, reverse=number % 2):
            seconds, peak = measured(self.cases[name], batch)
            if number >= WARM_UP:
                self.seconds[name].append(seconds)
                self.peak[name] = max(self.peak[name], peak)

    def inspect(self, batch: dict) -> None:
        """Arithmetic, waits of the host, and the parts of a step."""
        for name, case in self.cases.items():
            with FlopCounterMode(display=False) as counter:
                case(batch)
            self.flops[name] = counter.get_total_flops()
        step = self.cases['step']
        with waits() as self.waits:
            step(batch)
        annotate(self.runner)
        with profile(with_stack=False) as self.profile:
            for _ in range(PROFILED):
                with record_function('rest'):
                    step(batch)
                    synchronize()


class Waits(TorchDispatchMode):
    """Counts operations whose result the host waits for, by their caller."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name in ('index', 'index_put_') and any(
            mask is not None and mask.dtype == torch.bool for mask in args[1])
        if masked or name in SYNCS:
            self.note()
        return func(*args, **kwargs or {})

    def heed(self, warning: Union[Warning, str], *args, **kwargs) -> None:
        """A warning, perhaps that of CUDA."""
        if 'synchronizing' in str(warning):
            self.note()

    def note(self) -> None:
        frames = [
            frame for frame in traceback.extract_stack()
            if not re.search(r'/torch/|/warnings.py|tools/benchmark.py',
                             frame.filename)
        ]
        path = '/'.join(Path(frames[-1].filename).parts[-2:])
        self.counts[f'{path}:{frames[-1].name}'] += 1


@contextmanager
def waits() -> Iterator[Counter]:
    """Callers for whom the host waits for the device, and how often.

    CUDA says when it happens. On CPU the operations are counted that would.
    """
    mode = Waits()
    if torch.cuda.is_available():
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.showwarning = mode.heed
            torch.cuda.set_sync_debug_mode('warn')
            try:
                yield mode.counts
            finally:
                torch.cuda.set_sync_debug_mode('default')
    else:
        with mode:
            yield mode.counts


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measured(case: Callable[[dict], None], batch: dict) -> Tuple[float, int]:
    """Seconds, and on CUDA the bytes that were allocated meanwhile."""
    cuda, before = torch.cuda.is_available(), 0
    synchronize()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    case(batch)
    synchronize()
    seconds = time.perf_counter() - start
    return seconds, cuda and torch.cuda.max_memory_allocated() - before


def state_bytes(model: nn.Module, optim: OptimWrapper) -> int:
    """Of weights, buffers and the optimizer's state."""
    tensors = [*model.state_dict().values()]
    for state in optim.optimizer.state.values():
        tensors += filter(torch.is_tensor, state.values())
    return sum(tensor.nbytes for tensor in tensors)


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
            owners += [(hook, '_check', 'check that all is finite'),
                       (hook, 'before_train_iter', 'check that all is finite')]
    for owner, name, part in owners:
        setattr(owner, name, timed(part, getattr(owner, name)))
    model.mix = [timed('CutMix', mix) for mix in model.mix]


def shares(profiler: profile) -> Dict[str, float]:
    """Seconds per step of each part, without the parts within it."""
    events = sorted(  # a GPU's timeline repeats those of the host
        (event for event in profiler.events() if event.is_user_annotation
         and event.device_type == DeviceType.CPU and event.name in PARTS),
        key=lambda event: event.time_range.start)
    seconds, around = dict.fromkeys(PARTS, 0.), []
    for event in events:
        while around and event.time_range.start >= around[-1].time_range.end:
            around.pop()
        spent = event.time_range.elapsed_us() / 1e6 / PROFILED
        seconds[event.name] += spent
        if around:
            seconds[around[-1].name] -= spent
        around.append(event)
    return {part: spent for part, spent in seconds.items() if spent}


def prepare(args: argparse.Namespace, crop: int, batch: int,
            work_dir: str) -> Config:
    """The config on drawn images, beyond its warm-up."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    if cfg.model.type != 'PSMT':
        raise SystemExit(f'{args.config} has a model of type '
                         f'{cfg.model.type}, not PSMT')
    if not (crop or cfg.get('crop_size')):
        raise SystemExit(f'{args.config} has no crop_size: give --crop')
    crop = crop or cfg.crop_size[0]
    segmentor = cfg.model.segmentor
    head = segmentor.decode_head
    if isinstance(head, list):
        raise SystemExit(f'{args.config} has a cascade of decode heads, whose '
                         'floor is not known')
    segmentor.pretrained = None
    segmentor.backbone.pop('init_cfg', None)
    cfg.model.update(teachers_init='copy', warmup_iters=0, ramp_iters=0)
    cfg.model.setdefault('data_preprocessor', {})['size'] = (crop, crop)
    batch = batch or cfg.train_dataloader.batch_size
    cfg.train_dataloader = dict(
        batch_size=batch,
        dataset=dict(
            type='DrawnPairs',
            crop=crop,
            num_classes=head.num_classes,
            num_pairs=batch),
        sampler=dict(type='PairSampler'),
        num_workers=0)
    cfg.optim_wrapper.pop('accumulative_counts', None)
    if args.amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=args.amp)
    speed = dict(
        channels_last=args.channels_last,
        tf32=args.tf32,
        compile=args.compile)
    cfg.train_cfg = dict(
        type='BenchmarkLoop',
        speed=speed,
        port=not args.no_port,
        rounds=args.rounds)
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks
        if hook.type in ('TeacherEMAHook', 'CheckFiniteHook')
    ]
    cfg.custom_hooks.append(dict(type='SpeedHook', **speed))
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    cfg.default_hooks.checkpoint.pop('save_best', None)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg',
                'test_dataloader', 'test_evaluator', 'auto_scale_lr'):
        cfg.pop(key, None)
    cfg.update(
        work_dir=work_dir,
        load_from=None,
        resume=False,
        vis_backends=[],
        log_level='ERROR')
    cfg.visualizer.vis_backends = []
    return cfg


def results(loop: BenchmarkLoop, batch: int) -> dict:
    """What was measured, as plain numbers."""
    state = state_bytes(loop.runner.model, loop.runner.optim_wrapper)
    cases = {}
    for name, seconds in loop.seconds.items():
        ratios = np.divide(seconds, loop.seconds['floor'])
        median = float(np.median(seconds))
        peak = loop.peak[name]
        cases[name] = dict(
            seconds=median,
            of_floor=float(np.median(ratios)),
            quartiles=np.percentile(ratios, [25, 75]).tolist(),
            images_per_second=2 * batch / median,
            peak_gib=(state + peak) / 2**30 if peak else None,
            tflop=loop.flops[name] / 1e12)
    return dict(cases=cases, parts=shares(loop.profile),
                waits=dict(loop.waits))


def environment(args: argparse.Namespace) -> dict:
    """Where and with what it was measured."""
    cuda = torch.cuda.is_available()
    return dict(
        config=args.config,
        device=torch.cuda.get_device_name() if cuda else
        f'CPU, {torch.get_num_threads()} threads',
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        commit=commit() or 'unknown',
        precision=args.amp or ('tf32' if args.tf32 else 'float32'),
        channels_last=args.channels_last,
        compile=args.compile)


def table(crop: int, batch: int, result: dict) -> str:
    """Markdown of one size."""
    lines = [
        f'Crop {crop}, {batch} labelled + {batch} unlabelled images:', '',
        '| | ms | of the floor | quartiles | images/s | peak GiB | TFLOP |',
        '|---|--:|--:|--:|--:|--:|--:|'
    ]
    for name, case in result['cases'].items():
        low, high = case['quartiles']
        peak = case['peak_gib']
        lines.append(
            f'| {name} | {1e3 * case["seconds"]:.1f} | '
            f'{case["of_floor"]:.3f} | {low:.3f}-{high:.3f} | '
            f'{case["images_per_second"]:.2f} | '
            f'{f"{peak:.2f}" if peak else "–"} | {case["tflop"]:.3f} |')
    whole = sum(result['parts'].values())
    lines += ['', '| part of the step | ms | share |', '|---|--:|--:|']
    lines += [f'| {part} | {1e3 * spent:.1f} | {spent / whole:.1%} |'
              for part, spent in result['parts'].items()]
    lines += ['', f'The host waits {sum(result["waits"].values())} times in a '
              'step:', '']
    lines += [f'- {count} x `{caller}`'
              for caller, count in result['waits'].items()]
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    register_all_modules()
    where = environment(args)
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
                    f'{args.out}/trace_{crop}_{batch}.json.gz')
            del loop
            gc.collect()  # of the networks, before those of the next size
    if args.out:
        (args.out / 'results.json').write_text(
            json.dumps(dict(where, sizes=sizes), indent=1))


if __name__ == '__main__':
    main()
