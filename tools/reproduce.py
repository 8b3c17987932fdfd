"""Train and test configs with several seeds, and print their table.

Training k of a config lies in WORK_DIRS/<config>/seed<k>, and what it prints
in train.log there. What is done is skipped, what was cut off goes on from its
last checkpoint, also to a larger max_iters. A run that fails stops no other.
Variants of a config (--vary) lie in WORK_DIRS/<config>+<options>/seed<k>. They
are validated but not tested, because the test images choose no setting. What
is done is a row of a CSV file, of which tools/analysis_tools/results.py makes
tables and learning curves.

A config may start from what another left behind: {{$PSMT_WORK_DIRS:work_dirs}}
and {{$PSMT_SEED:0}} in it are those of the run.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import List, Sequence

from analysis_tools import results
from mmengine import Config, DictAction
from mmengine.logging import MMLogger

TOOLS = Path(__file__).resolve().parent
ENVIRONMENT = Lock()


def own(work_dir: Path) -> dict:
    """Environment of a run, which its config may read."""
    return {
        'PSMT_WORK_DIRS': str(work_dir.parents[1]),
        'PSMT_SEED': work_dir.name[4:],
    }


def load(config: Path, work_dir: Path) -> Config:
    """A config as the run of a work dir reads it."""
    with ENVIRONMENT:
        before = {key: os.environ.get(key) for key in own(work_dir)}
        os.environ.update(own(work_dir))
        try:
            return Config.fromfile(config, import_custom_modules=False)
        finally:
            for key, value in before.items():
                del os.environ[key]
                if value is not None:
                    os.environ[key] = value


def begun(work_dir: Path) -> bool:
    """Whether a checkpoint was noted, or lies there without a note."""
    return bool(results.last_checkpoint(work_dir)) or any(
        work_dir.glob('iter_*.pth')
    )


def parse_options(words: Sequence[str]) -> dict:
    """KEY=VALUE words as --cfg-options of the training reads them."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def state(config: Path, work_dir: Path, words: Sequence[str] = ()) -> str:
    """'to train', 'to test', 'done', or why the work dir is of no use."""
    try:
        return readable_state(config, work_dir, words)
    except ValueError as error:
        return f'{error}. Move the work dir away'


def readable_state(
    config: Path, work_dir: Path, words: Sequence[str] = ()
) -> str:
    """As :func:`state`; ValueError where a log cannot be read."""
    cfg = load(config, work_dir)
    if words:
        cfg.merge_from_dict(parse_options(words))
    starts = sorted(work_dir.glob('[0-9]*/vis_data/config.py'))
    if starts:
        new, old = (
            results.settings(cfg),
            results.settings(results.load(starts[-1].parents[1])),
        )
        for settings in (new, old):
            settings['train_cfg'] = {**settings['train_cfg'], 'max_iters': 0}
        changed = [k for k in {**new, **old} if new.get(k) != old.get(k)]
        if changed:
            return (
                f'of another config, {", ".join(changed)} changed: move '
                'it away or choose other --work-dirs'
            )
    length = cfg.train_cfg.max_iters
    try:
        record = results.read(work_dir, validation=bool(words))
        if record['iterations'] == str(length):
            return 'done'
    except results.NoResult:
        pass
    step = re.search(r'iter_(\d+)\.pth$', results.last_checkpoint(work_dir))
    if not step or int(step[1]) < length:
        return f'to train (from {step[1] if step else 0})'
    return (
        'not validated at its end: move it away to train it again'
        if words
        else 'to test'
    )


def run(words: Sequence, work_dir: Path) -> None:
    """Run a tool for a work dir; print how its log ends if it fails."""
    work_dir.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        **own(work_dir),
    }
    with open(work_dir / 'train.log', 'a') as log:
        code = subprocess.run(
            [*map(str, words)], stdout=log, stderr=subprocess.STDOUT, env=env
        ).returncode
    if code:
        tail = (work_dir / 'train.log').read_text().splitlines()[-20:]
        print(f'{work_dir} failed with exit code {code}:', *tail, sep='\n')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        help='processes of one training; the batch of the config is of each',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='trainings that '
        'run at the same time, on one device or on CPU cores',
    )
    parser.add_argument(
        '--vary',
        nargs='+',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='a variant of each config, '
        'in place of the config itself; give it repeatedly',
    )
    parser.add_argument('--work-dirs', type=Path, default=Path('work_dirs'))
    parser.add_argument(
        '--csv',
        type=Path,
        help='file that receives a row per run. Default WORK_DIRS/results.csv',
    )
    parser.add_argument(
        '--list',
        action='store_true',
        help='only say what is done and what remains',
    )
    args = parser.parse_args()
    if args.gpus < 1 or min(args.seeds) < 0:
        parser.error(
            '--gpus must be at least 1 and --seeds at least 0, got '
            f'{args.gpus} and {args.seeds}'
        )
    if args.jobs < 1 or args.jobs > 1 < args.gpus:
        parser.error(
            '--jobs must be at least 1, and is 1 with several '
            f'--gpus, got {args.jobs}'
        )
    for word in sum(args.vary, []):
        if '=' not in word:
            parser.error(f'--vary takes KEY=VALUE, got {word!r}')
    args.csv = args.csv or args.work_dirs / 'results.csv'
    for option, place in (
        ('--work-dirs', args.work_dirs),
        ('--csv', args.csv.parent),
    ):
        for path in (place, *place.parents):
            if path.is_file():
                parser.error(f'{option}: {path} is not a folder')
    if args.csv.is_dir():
        parser.error(f'--csv: {args.csv} is a folder')
    if args.csv.is_file():
        results.read_csv(args.csv)
    # a terminal may lack the dash
    getattr(sys.stdout, 'reconfigure', dict)(errors='replace')
    # mmengine tells at each reading which variables a config takes.
    MMLogger.get_instance('mmengine', log_level='WARNING')
    # The lengths in some configs depend on it.
    os.environ['WORLD_SIZE'] = str(args.gpus)
    jobs = {}
    for config in args.configs:
        if not config.is_file():
            parser.error(f'the config {config} does not exist')
        try:
            cfg = Config.fromfile(config, import_custom_modules=False)
            cfg.train_cfg.max_iters
        except Exception as error:
            parser.error(f'{config} is not a config of a training: {error!r}')
        if not (args.vary or cfg.get('test_dataloader')):
            parser.error(
                f'{config} has no test_dataloader, and a run is tested at '
                'its end: add one'
            )
        for words in args.vary or [()]:
            name = '+'.join([config.stem, *words]).replace('/', '_')
            if len(name.encode()) > 255:
                parser.error(
                    'a folder name has at most 255 bytes: write a '
                    f'config of these settings, {" ".join(words)}'
                )
            for seed in args.seeds:
                folder = args.work_dirs / name / f'seed{seed}'
                if jobs.setdefault(folder, (config, words, seed))[0] != config:
                    parser.error(
                        f'{config} and {jobs[folder][0]} have the '
                        f'same work dir {folder}: rename one'
                    )

    def state_of(folder: Path) -> str:
        config, words, _ = jobs[folder]
        return state(config, folder, words)

    def report() -> List[Path]:
        states = {folder: state_of(folder) for folder in jobs}
        done = [folder for folder in jobs if states[folder] == 'done']
        print(
            f'{len(done)} of {len(jobs)} done',
            *(f'{folder}: {word}' for folder, word in states.items()),
            sep='\n',
            flush=True,
        )
        return done

    def advance(folder: Path) -> None:
        config, words, seed = jobs[folder]
        if state_of(folder).startswith('to train'):
            print(f'{folder}: training', flush=True)
            run(
                [
                    *(
                        [sys.executable, TOOLS / 'train.py', config]
                        if args.gpus == 1
                        else [TOOLS / 'dist_train.sh', config, args.gpus]
                    ),
                    *(['--resume'] if begun(folder) else []),
                    '--work-dir',
                    folder,
                    '--cfg-options',
                    f'randomness.seed={seed}',
                    *words,
                ],
                folder,
            )
        if state_of(folder) == 'to test':
            print(f'{folder}: testing', flush=True)
            run(
                [
                    sys.executable,
                    TOOLS / 'test.py',
                    config,
                    results.last_checkpoint(folder),
                    '--work-dir',
                    folder / 'test',
                ],
                folder,
            )

    report()
    if args.list:
        return
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(advance, jobs))
    done = report()
    records = [
        {
            **results.read(folder, validation=bool(args.vary)),
            'overrides': ' '.join(jobs[folder][1]),
        }
        for folder in done
    ]
    if records:
        results.write_csv(args.csv, records)
        print(f'\n{results.render(results.compact(records))}\n{args.csv}')
    sys.exit(len(done) < len(jobs))


if __name__ == '__main__':
    main()
