"""Peak memory of PS-MT and of supervised training, by crop and batch."""
import argparse
import copy
import gc
import json
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import List, Optional, Sequence, Tuple
from unittest.mock import patch

import torch
from mmengine.config import Config, DictAction
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

CARDS = (8, 11, 16, 24, 40, 80)
COLUMNS = ('config', 'crop', 'batch', 'warm-up', 'PS-MT', 'supervised',
           'ratio', 'card')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
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
        if (func is aten.native_batch_norm.default
                and args[0].numel() == args[0].size(1)):
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


def train_step(model: nn.Module, optim, crop: Sequence[int], num: int,
               amp: Optional[torch.dtype] = None) -> None:
    """One iteration of PSMT on num + num images, or of its student on num."""

    def images() -> Tensor:
        return torch.rand(num, 3, *crop)

    def samples() -> List[SegDataSample]:
        return [
            SegDataSample(gt_sem_seg=PixelData(
                data=torch.zeros(1, *crop, dtype=torch.long)))
            for _ in range(num)
        ]

    psmt = hasattr(model, 'teachers')
    batch = images(), samples()
    if psmt:
        model.backward = backward_with(optim)
        views = ['labeled', 'weak', 'strong']
        views += ['labeled_weak'] * model.teachers.independent
        batch = ({view: images() for view in views},
                 {view: samples() for view in views})
        batch[0]['valid'] = torch.ones(num, *crop, dtype=torch.bool)
    with torch.autocast(DEVICE, amp, enabled=amp is not None):
        loss, _ = model.parse_losses(model.loss(*batch))
    optim.update_params(loss)
    if psmt:
        model.update_teacher()


def peaks(model: ConfigType, optim_wrapper: ConfigType,
          cells: List[Tuple[Sequence[int], int]],
          amp: Optional[torch.dtype] = None,
          warmup: bool = False) -> List[Optional[int]]:
    """Peak of a training step on each crop and batch.

    Args:
        model (dict): Config of PSMT or of a segmentor.
        optim_wrapper (dict): Config; its optimizer's state counts.
        cells (list[tuple]): Crop (H, W) and images of each.
        amp (torch.dtype, optional): Type of the autocast.
        warmup (bool): Whether PSMT is in its warm-up.

    Returns:
        list[int | None]: Bytes: measured on CUDA, None where it is out of
        memory; otherwise computed from fake tensors.
    """
    cuda = torch.cuda.is_available()
    trace, found = AllocationTrace(), []
    with ExitStack() as stack:
        if not cuda:
            stack.enter_context(FakeTensorMode())
            stack.enter_context(trace)
        stack.enter_context(torch.device(DEVICE))
        stack.enter_context(patch('torch.nn.functional._verify_batch_size'))
        net = revert_sync_batchnorm(MODELS.build(copy.deepcopy(model)))
        net.iter = 0 if warmup else getattr(net, 'warmup_iters', 0)
        optim = build_optim_wrapper(net, {
            key: value for key, value in optim_wrapper.items()
            if key not in ('dtype', 'loss_scale')  # of AmpOptimWrapper
        } | {'type': 'OptimWrapper'})
        if not cuda:  # the first step creates the optimizer's state
            train_step(net, optim, *min(cells, key=lambda c: c[0][0] * c[1]),
                       amp)
        for cell in cells:
            if not cuda:
                trace.peak = trace.live
                train_step(net, optim, *cell, amp)
                found.append(trace.peak)
                continue
            gc.collect()  # cycles keep earlier networks alive
            torch.cuda.reset_peak_memory_stats()
            try:
                for _ in range(2):
                    train_step(net, optim, *cell, amp)
                found.append(torch.cuda.max_memory_allocated())
            except torch.cuda.OutOfMemoryError:
                optim.zero_grad()
                found.append(None)
    return found


def card(row: dict, allowance: Sequence[float]) -> Optional[int]:
    """Smallest of CARDS, in GiB, for the peaks of PS-MT in a row."""
    peaks = [row[key] for key in ('warmup', 'psmt') if key in row]
    context, share = allowance
    return None if None in peaks else next(
        (size for size in CARDS
         if max(peaks) / 2**30 * (1 + share) + context <= size), None)


def rows(path: Path, args: argparse.Namespace) -> List[dict]:
    """A row for each crop and batch of a config."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(args.cfg_options)
    model = cfg.get('model', {})
    if model.get('type') not in ('PSMT', 'mmseg.PSMT'):
        raise SystemExit(f'{path} trains {model.get("type")!r}: give a config '
                         "with model.type='PSMT', whose model.segmentor is "
                         'compared with it')
    crops = [(crop, crop) for crop in args.crop or ()]
    if not crops:
        size = (model.get('data_preprocessor') or {}).get('size')
        if not size:
            raise SystemExit(f'{path} has no model.data_preprocessor.size: '
                             'give --crop')
        crops = [tuple(size)]
    cells = [(crop, num) for crop in crops
             for num in args.batch or [cfg.train_dataloader.batch_size]]
    if args.checkpointing:
        model.segmentor.backbone.with_cp = True
    amp = args.amp and getattr(torch, args.amp)
    wrapper, found = cfg.optim_wrapper, {}
    try:
        if model.get('teachers_init') == 'independent':
            found['warmup'] = peaks(model, wrapper, cells, amp, warmup=True)
        found['psmt'] = peaks(model, wrapper, cells, amp)
        found['supervised'] = peaks(model.segmentor, wrapper,
                                    [(crop, 2 * n) for crop, n in cells], amp)
    except (DataDependentOutputException,
            DynamicOutputShapeException) as error:
        raise SystemExit(f'{path} cannot be computed, because memory depends '
                         f'on the images ({error}): measure it with CUDA')
    return [
        dict(config=path.stem, crop=crop, batch=num,
             kind='measured' if DEVICE == 'cuda' else 'computed',
             amp=args.amp, checkpointing=args.checkpointing,
             **dict(zip(found, bytes_)))
        for (crop, num), bytes_ in zip(cells, zip(*found.values()))
    ]


def render(rows: List[dict], allowance: Sequence[float]) -> str:
    """Markdown table, in GiB."""
    lines = [COLUMNS, ['---', *['--:'] * 7]]
    for row in rows:
        ours, plain = row['psmt'], row['supervised']
        sizes = [row.get(key, 0) for key in ('warmup', 'psmt', 'supervised')]
        lines.append([
            row['config'], 'x'.join(map(str, row['crop'])),
            f'{row["batch"]} + {row["batch"]}',
            *('out of memory' if size is None else
              f'{size / 2**30:.2f}' if size else '–' for size in sizes),
            f'{ours / plain:.2f}' if ours and plain else '–',
            str(card(row, allowance) or '–')
        ])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Print which card is large enough for PS-MT, beside '
        'plain supervised training of the same segmentor on as many images, '
        'labelled and unlabelled together. The warm-up of independent '
        'teachers has a column of its own. With CUDA the peaks are measured '
        '(two steps on random images); otherwise they are computed from the '
        'allocations of a step with tensors that have shapes but no values, '
        'which takes no memory. One process, random weights, no data needed.')
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument(
        '--crop', nargs='+', type=int, metavar='PX',
        help='sides of square crops; default: that of the config')
    parser.add_argument(
        '--batch', nargs='+', type=int, metavar='N',
        help='labelled images per GPU, and as many unlabelled; default: that '
        'of the config')
    parser.add_argument('--amp', choices=('bfloat16', 'float16'),
                        help='autocast to this type')
    parser.add_argument(
        '--checkpointing', action='store_true',
        help="recompute the student's features: backbone.with_cp=True")
    parser.add_argument(
        '--allowance', nargs=2, type=float, default=(1., 0.1),
        metavar=('GIB', 'SHARE'),
        help="an assumption about what the peak leaves out (CUDA's context, "
        'workspaces of cuDNN, fragmentation): a card is large enough from '
        'peak * (1 + SHARE) + GIB on; default: 1.0 0.1')
    parser.add_argument('--out', type=Path, help='the rows as JSON, in bytes')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={},
        help='override settings of the configs, as in tools/train.py')
    args = parser.parse_args()
    for path in args.configs:
        if not path.is_file():
            parser.error(f'the config {path} does not exist')
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error(f'--out {args.out} is no file in an existing folder')
    for option in ('crop', 'batch'):
        if min(getattr(args, option) or [1]) < 1:
            parser.error(f'--{option} needs whole numbers of at least 1')
    if min(args.allowance) < 0:
        parser.error(f'--allowance {args.allowance} is below 0')
    register_all_modules()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    table = [row for path in args.configs for row in rows(path, args)]
    context, share = args.allowance
    print(f'\nPeaks are {table[0]["kind"]}, in GiB, with '
          f'{args.amp or "float32"}'
          f'{", with_cp=True" * args.checkpointing}, torch '
          f'{torch.__version__}. The card, in GB, is the smallest for\n'
          f'{1 + share:g} x the peak of both phases + {context:g} GiB, which '
          'is an assumption.\n')
    print(render(table, args.allowance))
    if args.out:
        args.out.write_text(json.dumps(table, indent=1))


if __name__ == '__main__':
    main()
