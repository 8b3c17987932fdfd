"""Compare trainings: a table of test mIoU, and curves of loss and mIoU."""
import argparse
import json
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

PANELS = (('loss', 'training loss'), ('mIoU', 'validation mIoU'),
          ('unsup.confident', 'confident share'),
          ('unsup.correct', 'correct of these'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print the mIoU that tools/test.py wrote below each work '
        'dir, mean and deviation over its runs, and draw their curves.')
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='NAME=WORK_DIR[,WORK_DIR...]',
        help='a method and its trainings, one per seed; each was tested with '
        '--work-dir WORK_DIR/test')
    parser.add_argument('--plot', type=Path, help='PNG file to draw')
    return parser.parse_args()


def parse_runs(words: List[str]) -> Dict[str, List[Path]]:
    """Work dirs by the name of the method; SystemExit where one is wrong."""
    runs = {}
    for word in words:
        name, found, dirs = word.partition('=')
        if not found or not dirs:
            raise SystemExit(f'{word!r} is not NAME=WORK_DIR[,WORK_DIR...]')
        runs[name] = [Path(folder) for folder in dirs.split(',')]
        for folder in runs[name]:
            if not folder.is_dir():
                raise SystemExit(f'{folder} is no work dir')
    return runs


def parsed(file: Path, text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SystemExit(f'{file} cannot be read: {error}')


def tested(work_dir: Path) -> Dict[str, float]:
    """Metrics of the latest test."""
    files = sorted(work_dir.glob('test/*/*.json'))
    if not files:
        raise SystemExit(
            f'{work_dir} was not tested: run tools/test.py CONFIG CHECKPOINT '
            f'--work-dir {work_dir}/test')
    return parsed(files[-1], files[-1].read_text())


def logged(work_dir: Path, key: str) -> List[Tuple[int, float]]:
    """(iteration, value) of one key, over all starts of a training."""
    points = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = parsed(file, line)
            if key in entry:
                points[entry['step']] = entry[key]
    return sorted(points.items())


def table(runs: Dict[str, List[Path]]) -> str:
    """Markdown; one row per method and net."""
    rows = [
        '| method | net | runs | mIoU | of each run |',
        '|---|---|--:|--:|--:|'
    ]
    for name, dirs in runs.items():
        metrics = [tested(folder) for folder in dirs]
        semi = 'student/mIoU' in metrics[0]
        nets = {'teachers': 'mIoU', 'student': 'student/mIoU'}
        for net, key in (nets if semi else {'student': 'mIoU'}).items():
            values = [metric[key] for metric in metrics]
            each = ', '.join(f'{value:.2f}' for value in values)
            rows.append(f'| {name} | {net} | {len(values)} | '
                        f'{np.mean(values):.2f} ± {np.std(values):.2f} | '
                        f'{each} |')
    return '\n'.join(rows)


def plot(runs: Dict[str, List[Path]], out: Path) -> None:
    """Draw what was logged; panels that nobody logged stay empty."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True)
    for axis, (key, title) in zip(axes.flat, PANELS):
        for colour, (name, dirs) in enumerate(runs.items()):
            for i, folder in enumerate(dirs):
                points = logged(folder, key)
                if points:
                    axis.plot(
                        *zip(*points),
                        color=f'C{colour}',
                        marker='.' if key == 'mIoU' else None,
                        label=name if i == 0 else None)
        axis.set(title=title, xlabel='iteration')
        axis.grid(alpha=0.3)
    axes[0, 1].legend()
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


def main() -> None:
    args = parse_args()
    runs = parse_runs(args.runs)
    print(table(runs))
    if args.plot:
        plot(runs, args.plot)
        print(f'\ncurves: {args.plot}')


if __name__ == '__main__':
    main()
