"""Peak memory of PS-MT and of supervised training, by crop and batch."""

import argparse
import copy
import weakref
from pathlib import Path
from typing import List, Optional, Sequence, Tuple
from unittest.mock import patch

from mmengine.config import Config, DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print which card is large enough for PS-MT, next to '
        'supervised training of the same segmentor on as many images. The '
        'peaks are computed from a step with tensors that have shapes but no '
        'values: no GPU, weights or data are needed.'
    )
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    for option, whose in (
        ('--crop', 'sides of square crops'),
        ('--batch', 'labeled images, and as many others'),
    ):
        parser.add_argument(
            option,
            nargs='+',
            type=int,
            metavar='N',
            help=f'{whose}; default: that of the config',
        )
    parser.add_argument('--amp', choices=('bfloat16', 'float16'))
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='as in tools/train.py',
    )
    args = parser.parse_args()
    for path in args.configs:
        if not path.is_file():
            parser.error(f'the config {path} does not exist')
    for option in ('crop', 'batch'):
        if min(getattr(args, option) or [1]) < 1:
            parser.error(f'--{option} needs whole numbers of at least 1')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports

import torch
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import ConfigType, register_all_modules
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmseg_psmt.engine.model import backward_with

CARDS = (8, 11, 16, 24, 40, 80)  # GB
SHARE, CONTEXT = 0.1, 1.0  # of the peak, and GiB, that it leaves out
PHASES = ('warm-up', 'PS-MT', 'supervised')
aten = torch.ops.aten


class AllocationTrace(TorchDispatchMode):
    """Sums the storages that are alive, in the units of CUDA's allocator.

    Fake tensors have no values. Where a shape depends on them, every pixel is
    taken, and a number that is read is 1.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._sizes = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is aten._local_scalar_dense.default:
            return 1
        if func is aten.index.Tensor:
            args = args[0], [j for i in args[1] for j in self._indices(i)]
        if func is aten.native_batch_norm.default and args[0].numel() == args[
            0
        ].size(1):
            # SyncBN counts the pixels of all GPUs, not this one alone.
            out = args[0].clone(), args[1].clone(), args[1].clone()
        else:
            out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _indices(self, mask: Optional[Tensor]) -> Sequence[Optional[Tensor]]:
        if mask is None or mask.dtype is not torch.bool:
            return [mask]
        found = mask.new_empty(mask.numel(), mask.ndim, dtype=torch.long)
        self._add(found.untyped_storage())
        return found.unbind(1)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = -(-storage.nbytes() // 512) * 512
            weakref.finalize(storage, self._remove, key)
            self.live += self._sizes[key]
            self.peak = max(self.peak, self.live)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def train_step(
    model: nn.Module,
    optim,
    crop: Sequence[int],
    num: int,
    amp: Optional[torch.dtype] = None,
) -> None:
    """One iteration of PSMT on num + num images, or of its student on num."""

    def view() -> Tuple[Tensor, List[SegDataSample]]:
        labels = [torch.zeros(1, *crop, dtype=torch.long) for _ in range(num)]
        return torch.rand(num, 3, *crop), [
            SegDataSample(gt_sem_seg=PixelData(data=data)) for data in labels
        ]

    images, samples = view()
    psmt = hasattr(model, 'teachers')
    if psmt:
        model.backward = backward_with(optim)
        images, samples = dict(labeled=images), dict(labeled=samples)
        for name in ['weak', 'strong'] + (
            ['labeled_weak'] * model.teachers.independent
        ):
            images[name], samples[name] = view()
        images['valid'] = torch.ones(num, *crop, dtype=torch.bool)
    with torch.autocast('cpu', amp, enabled=amp is not None):
        loss, _ = model.parse_losses(model.loss(images, samples))
    optim.update_params(loss)
    if psmt:
        model.update_teacher()


def peaks(
    model: ConfigType,
    optim_wrapper: ConfigType,
    cells: List[Tuple[Sequence[int], int]],
    amp: Optional[torch.dtype] = None,
    warmup: bool = False,
) -> List[int]:
    """Bytes at the peak of a training step on each (crop, images).

    The optimizer's state counts.
    """
    options = {
        key: value
        for key, value in optim_wrapper.items()
        if key not in ('dtype', 'loss_scale')  # of AmpOptimWrapper
    }
    found = []
    with (
        FakeTensorMode(),
        AllocationTrace() as trace,
        patch('torch.nn.functional._verify_batch_size'),
    ):
        net = revert_sync_batchnorm(MODELS.build(copy.deepcopy(model)))
        net.iter = 0 if warmup else getattr(net, 'warmup_iters', 0)
        optim = build_optim_wrapper(net, {**options, 'type': 'OptimWrapper'})
        # the first step creates the optimizer's state
        train_step(net, optim, *min(cells, key=lambda c: c[0][0] * c[1]), amp)
        for cell in cells:
            trace.peak = trace.live
            train_step(net, optim, *cell, amp)
            found.append(trace.peak)
    return found


def card(row: dict) -> Optional[int]:
    """Smallest of CARDS for the peaks of PS-MT in a row."""
    peak = max(row[phase] for phase in PHASES[:2] if phase in row) / 2**30
    rooms = (size for size in CARDS if peak * (1 + SHARE) + CONTEXT <= size)
    return next(rooms, None)


def rows(path: Path, args: argparse.Namespace) -> List[dict]:
    """A row for each crop and batch of a config."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(args.cfg_options)
    model, wrapper = cfg.get('model', {}), cfg.get('optim_wrapper')
    if model.get('type') not in ('PSMT', 'mmseg.PSMT'):
        raise SystemExit(
            f'{path} trains {model.get("type")!r}: give a config '
            "with model.type='PSMT', whose model.segmentor is "
            'compared with it'
        )
    size = (model.get('data_preprocessor') or {}).get('size')
    if not (args.crop or size):
        raise SystemExit(
            f'{path} has no model.data_preprocessor.size: give --crop'
        )
    cells = [
        (crop, num)
        for crop in [(side, side) for side in args.crop or ()] or [tuple(size)]
        for num in args.batch or [cfg.train_dataloader.batch_size]
    ]
    amp, found = args.amp and getattr(torch, args.amp), {}
    try:
        if (model.get('teachers') or {}).get('init') == 'independent':
            found['warm-up'] = peaks(model, wrapper, cells, amp, warmup=True)
        found['PS-MT'] = peaks(model, wrapper, cells, amp)
        found['supervised'] = peaks(
            model.segmentor, wrapper, [(crop, 2 * n) for crop, n in cells], amp
        )
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
    ) as error:
        raise SystemExit(
            f'{path} cannot be computed, because memory depends on the '
            f'images ({error}): read what mmengine logs as memory on a GPU'
        )
    return [
        dict(config=path.stem, crop=crop, batch=num, **dict(zip(found, cell)))
        for (crop, num), cell in zip(cells, zip(*found.values()))
    ]


def render(table: List[dict]) -> str:
    """Markdown, in GiB."""
    lines = [
        ('config', 'crop', 'batch', *PHASES, 'ratio', 'card'),
        ['---', *['--:'] * 7],
    ]
    for row in table:
        gib = [row[p] / 2**30 if p in row else None for p in PHASES]
        lines.append(
            [
                row['config'],
                'x'.join(map(str, row['crop'])),
                '{0} + {0}'.format(row['batch']),
                *('–' if x is None else f'{x:.2f}' for x in gib),
                f'{row["PS-MT"] / row["supervised"]:.2f}',
                str(card(row) or '–'),
            ]
        )
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main() -> None:
    args = parse_args()
    register_all_modules()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    table = [row for path in args.configs for row in rows(path, args)]
    print(
        f'\nPeaks are computed, in GiB, with {args.amp or "float32"}, torch '
        f'{torch.__version__}. The card, in GB, is\nthe smallest for '
        f'{1 + SHARE:g} x the peak of both phases + {CONTEXT:g} GiB, which is '
        f'an assumption.\n\n'
        f'{render(table)}'
    )


if __name__ == '__main__':
    main()
