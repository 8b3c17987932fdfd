"""Train and test configs with several seeds, and print their table.

Training k of a config lies in WORK_DIRS/<config>/seed<k>, and what it prints
in train.log there. What is done is skipped, what was cut off goes on from its
last checkpoint, also to a larger max_iters. A run that fails stops no other.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import benchmark_table as bench
from mmengine import Config

TOOLS = Path(__file__).resolve().parent


def last_checkpoint(work_dir: Path) -> str:
    """Its path as mmengine noted it, empty if there is none yet."""
    file = work_dir / 'last_checkpoint'
    return file.read_text().strip() if file.exists() else ''


def state(config: Path, work_dir: Path) -> str:
    """'to train', 'to test', 'done', or why the work dir is of no use."""
    cfg = Config.fromfile(config, import_custom_modules=False)
    starts = sorted(work_dir.glob('[0-9]*/vis_data/config.py'))
    if starts:
        new, old = bench.settings(cfg), bench.settings(
            bench.load(starts[-1].parents[1]))
        for settings in (new, old):
            settings['train_cfg'] = {**settings['train_cfg'], 'max_iters': 0}
        changed = [k for k in {**new, **old} if new.get(k) != old.get(k)]
        if changed:
            return (f'of another config, {", ".join(changed)} changed: move '
                    'it away or choose other --work-dirs')
    step = re.search(r'iter_(\d+)\.pth$', last_checkpoint(work_dir))
    if not step or int(step[1]) < cfg.train_cfg.max_iters:
        return f'to train (from {step[1] if step else 0})'
    tested = any('mIoU' in key for key in bench.read(work_dir)['means'])
    return 'done' if tested else 'to test'


def run(words: Sequence, work_dir: Path) -> None:
    """Run a tool; print how its log ends if it fails."""
    work_dir.mkdir(parents=True, exist_ok=True)
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    with open(work_dir / 'train.log', 'a') as log:
        code = subprocess.run([*map(str, words)], stdout=log,
                              stderr=subprocess.STDOUT,
                              env={**os.environ, 'PATH': path}).returncode
    if code:
        tail = (work_dir / 'train.log').read_text().splitlines()[-20:]
        print(f'{work_dir} failed with exit code {code}:', *tail, sep='\n')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--gpus', type=int, default=1, help='processes of '
                        'one training; the batch of the config is of each')
    parser.add_argument('--work-dirs', type=Path, default=Path('work_dirs'))
    parser.add_argument('--list', action='store_true',
                        help='only say what is done and what remains')
    args = parser.parse_args()
    if args.gpus < 1 or min(args.seeds) < 0:
        parser.error('--gpus must be at least 1 and --seeds at least 0, got '
                     f'{args.gpus} and {args.seeds}')
    for path in (args.work_dirs, *args.work_dirs.parents):
        if path.is_file():
            parser.error(f'--work-dirs: {path} is no folder')
    # The lengths in some configs depend on it.
    os.environ['WORLD_SIZE'] = str(args.gpus)
    jobs = {}
    for config in args.configs:
        if not config.is_file():
            parser.error(f'the config {config} does not exist')
        try:
            Config.fromfile(
                config, import_custom_modules=False).train_cfg.max_iters
        except Exception as error:
            parser.error(f'{config} is no config of a training: {error!r}')
        for seed in args.seeds:
            work_dir = args.work_dirs / config.stem / f'seed{seed}'
            if jobs.setdefault(work_dir, (config, seed))[0] != config:
                parser.error(f'{config} and {jobs[work_dir][0]} have the '
                             f'same work dir {work_dir}: rename one')

    def report() -> bool:
        states = {folder: state(jobs[folder][0], folder) for folder in jobs}
        done = [*states.values()].count('done')
        print(f'{done} of {len(jobs)} done',
              *(f'{folder}: {word}' for folder, word in states.items()),
              sep='\n', flush=True)
        return done == len(jobs)

    report()
    if args.list:
        return
    for folder, (config, seed) in jobs.items():
        if state(config, folder).startswith('to train'):
            print(f'{folder}: training', flush=True)
            run([*([sys.executable, TOOLS / 'train.py', config]
                   if args.gpus == 1 else
                   [TOOLS / 'dist_train.sh', config, args.gpus]),
                 *(['--resume'] if last_checkpoint(folder) else []),
                 '--work-dir', folder, '--cfg-options',
                 f'randomness.seed={seed}'], folder)
        if state(config, folder) == 'to test':
            print(f'{folder}: testing', flush=True)
            run([sys.executable, TOOLS / 'test.py', config,
                 last_checkpoint(folder), '--work-dir', folder / 'test'],
                folder)
    finished = report()
    print(f'\n{bench.render(bench.table([*jobs]))}')
    sys.exit(not finished)


if __name__ == '__main__':
    main()
