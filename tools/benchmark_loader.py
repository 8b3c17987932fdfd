"""Measure whether the data loader can feed a training step."""
import argparse
import json
import os
import platform
from collections import Counter
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Callable, Dict, Tuple

import cv2
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import DATA_SAMPLERS, DATASETS

from mmseg_psmt.datasets import MultiView, PairSampler, SemiSegDataset
from mmseg_psmt.datasets.images import leaves, reason
from mmseg_psmt.stack import installed_family

REST = 'the rest'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time the training data of a PS-MT config: pairs of a '
        'labelled and an unlabelled image per second, and the milliseconds '
        'of each transform and view, in one process as in one worker. Every '
        'run loads the same pairs; a first one, not counted, fills the file '
        'cache. Prints Markdown.')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--pairs', type=int, default=64, help='of a run; 64 if unset')
    parser.add_argument(
        '--repeats',
        type=int,
        default=5,
        help='runs, of which the median counts; 5 if unset')
    parser.add_argument(
        '--workers',
        type=int,
        help='also time batches from the DataLoader of the config with so '
        'many workers')
    parser.add_argument(
        '--step',
        type=float,
        metavar='SECONDS',
        help='of a training iteration ("time" less "data_time" in the log): '
        'says how many workers of one process can feed it')
    parser.add_argument('--out', type=Path, help='the numbers as JSON, too')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as in tools/train.py')
    args = parser.parse_args()
    for name in ('pairs', 'repeats', 'workers'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} must be at least 1, got {value}')
    if args.step is not None and not 0 < args.step < float('inf'):
        parser.error(f'--step must be seconds above 0, got {args.step}')
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error('--out must be a file in a folder that exists, got '
                     f'{args.out}')
    return args


class Stopwatch:
    """Seconds of each transform of a data set, by its name and stage.

    The stage is a view or, before the views, the kind of image. What a
    transform spends in the views within it is theirs.

    Args:
        dataset (SemiSegDataset): Its transforms are replaced by timed ones.
    """

    def __init__(self, dataset: SemiSegDataset):
        self.seconds = Counter()
        for kind in ('labeled', 'unlabeled'):
            for leaf in leaves(getattr(dataset, kind)):
                self._watch(leaf.pipeline.transforms, f'{kind} image')

    def _watch(self, transforms: list, stage: str) -> None:
        for i, transform in enumerate(transforms):
            if isinstance(transform, MultiView):
                for name, view in transform.views.items():
                    self._watch(view.transforms, name)
            transforms[i] = self._timed(
                transform, (type(transform).__name__, stage))

    def _timed(self, transform: Callable, part: Tuple[str, str]) -> Callable:

        def timed(results: dict) -> dict:
            start, inner = perf_counter(), -self.seconds.total()
            results = transform(results)
            inner += self.seconds.total()
            self.seconds[part] += perf_counter() - start - inner
            return results

        return timed


def time_parts(dataset: SemiSegDataset, pairs: list, repeats: int) -> Counter:
    """Seconds per pair of each part, of the run of median length.

    Args:
        dataset (SemiSegDataset): Is timed from then on.
        pairs (list): What PairSampler yields.
        repeats (int): Runs after the first.

    Returns:
        Counter: By transform and stage; one part is the rest of the time.
    """
    watch, runs = Stopwatch(dataset), []
    for _ in range(repeats + 1):
        watch.seconds.clear()
        start = perf_counter()
        for pair in pairs:
            dataset[pair]
        rest = perf_counter() - start - watch.seconds.total()
        watch.seconds[REST, REST] = rest
        runs.append(watch.seconds.copy())
    run = sorted(runs[1:], key=Counter.total)[repeats // 2]
    return Counter({part: run[part] / len(pairs) for part in run})


def time_loader(cfg: dict, dataset: SemiSegDataset, pairs: list, workers: int,
                repeats: int) -> float:
    """Pairs per second that all workers of the DataLoader deliver.

    Args:
        cfg (dict): Of the loader.
        dataset (SemiSegDataset): Its data set, already built.
        pairs (list): What PairSampler yields.
        workers (int): Overrides ``num_workers``.
        repeats (int): Runs after the first.
    """
    # the workers deliver one batch each at about the same time
    batches = ceil(len(pairs) / cfg['batch_size'] / workers) * workers
    number = batches * cfg['batch_size']
    loader = Runner.build_dataloader(
        dict(
            cfg,
            dataset=dataset,
            sampler=[*islice(cycle(pairs), number * (repeats + 1))],
            num_workers=workers),
        seed=0)
    seconds, stream = [], iter(loader)
    for _ in range(repeats + 1):
        start = perf_counter()
        for _ in range(batches):
            next(stream)
        seconds.append(perf_counter() - start)
    return number / median(seconds[1:])


def table(parts: Dict[Tuple[str, str], float]) -> str:
    """Markdown: milliseconds per pair, a row per transform."""
    names = [*dict.fromkeys(name for name, _ in parts if name != REST), REST]
    stages = [*dict.fromkeys(stage for _, stage in parts if stage != REST)]
    total = sum(parts.values())

    def row(name: str, chosen: Dict[Tuple[str, str], float]) -> str:
        own = sum(chosen.values())
        cells = [sum(s for (_, at), s in chosen.items() if at == stage)
                 for stage in stages]
        cells = [f'{1000 * cell:.2f}' if cell else '' for cell in cells]
        return ' | '.join([f'| {name}', *cells, f'{1000 * own:.2f}',
                           f'{own / total:.0%} |'])

    return '\n'.join([
        ' | '.join(['| ms per pair', *stages, 'together', 'share |']),
        '|---' + '|--:' * (len(stages) + 2) + '|',
        *(row(name, {part: s for part, s in parts.items() if part[0] == name})
          for name in names),
        row('together', parts)])


def load(path: str, options: dict) -> Tuple[
        Config, SemiSegDataset, PairSampler]:
    """Config, data set and sampler; SystemExit if it has no pairs."""
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options or {})
        loader = cfg.train_dataloader
        found = [loader.dataset.get('type'), loader.sampler.get('type')]
        if found != ['SemiSegDataset', 'PairSampler']:
            raise ValueError('train_dataloader must have SemiSegDataset and '
                             f'PairSampler, not {found}')
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        dataset = DATASETS.build(loader.dataset)
        sampler = DATA_SAMPLERS.build(
            loader.sampler, default_args=dict(dataset=dataset, seed=0))
    except Exception as error:
        raise SystemExit(f'{path} cannot be measured: {reason(error)}')
    return cfg, dataset, sampler


def main() -> None:
    args = parse_args()
    cfg, dataset, sampler = load(args.config, args.cfg_options)
    # as in a worker
    set_multi_processing(**cfg.get('env_cfg', {}).get('mp_cfg', {}))
    torch.set_num_threads(1)
    set_random_seed(0)
    pairs = [*islice(sampler, args.pairs)]
    machine = {
        'cores': len(os.sched_getaffinity(0)),
        'load': os.getloadavg()[0],
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'OpenCV': cv2.__version__,
        **installed_family()
    }
    print(f'{Path(args.config).stem}: median of {args.repeats} runs of '
          f'{args.pairs} pairs,',
          ', '.join(f'{k} {v}' for k, v in machine.items()), end='\n\n')
    batch = cfg.train_dataloader.batch_size
    all_workers = workers_needed = None
    if args.workers:  # before the transforms are timed
        all_workers = time_loader(cfg.train_dataloader, dataset, pairs,
                                  args.workers, args.repeats)
    parts = time_parts(dataset, pairs, args.repeats)
    one = 1 / parts.total()
    print(table(parts))
    print(f'\n- one process: {one:.1f} pairs/s')
    if args.workers:
        print(f'- {args.workers} workers, batches of {batch} pairs: '
              f'{all_workers:.1f} pairs/s in all')
    if args.step:
        workers_needed = ceil(batch / (one * args.step))
        print(f'- a step of {args.step:g} s with {batch} pairs needs '
              f'num_workers={workers_needed}, a core each; the config has '
              f'{cfg.train_dataloader.get("num_workers", 0)}')
    if args.out:
        args.out.write_text(json.dumps(dict(
            config=args.config, options=args.cfg_options, machine=machine,
            pairs=args.pairs, repeats=args.repeats, batch=batch,
            seconds_per_pair=[[*part, s] for part, s in parts.items()],
            pairs_per_second=one, workers=args.workers,
            pairs_per_second_of_workers=all_workers, step=args.step,
            workers_needed=workers_needed), indent=1))


if __name__ == '__main__':
    main()
