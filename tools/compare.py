"""Compare trainings: tables of their mIoU, and curves of loss and mIoU."""
import argparse
import json
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import benchmark_table as bench
import numpy as np

# of model.predict_with, in the order of the tables
NETS = {
    'teachers': 'teachers',
    'student': 'student',
    'teacher1': 'teacher 1',
    'teacher2': 'teacher 2'
}
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
        help='a method and its trainings, one per seed; tools/test.py wrote '
        'its results to WORK_DIR/test')
    parser.add_argument('--classes', nargs='?', const='IoU',
                        choices=('IoU', 'Acc'), help='print the test IoU, or '
                        'accuracy, of each class of the first net, too')
    parser.add_argument('--validation', action='store_true',
                        help='print the last validation instead of the test, '
                        'and how good the pseudo labels were')
    parser.add_argument('--plot', type=Path, help='PNG file to draw')
    return parser.parse_args()


def parse_runs(words: List[str]) -> Dict[str, List[Path]]:
    """Work dirs by the name of the method; SystemExit where one is wrong."""
    runs = {}
    for word in words:
        name, found, dirs = word.partition('=')
        if not found or not dirs:
            raise SystemExit(f'{word!r} is not NAME=WORK_DIR[,WORK_DIR...]')
        runs[name] = [Path(folder) for folder in (
            [dirs] if Path(dirs).is_dir() else dirs.split(','))]
        for folder in runs[name]:
            if not folder.is_dir():
                raise SystemExit(f'{folder} is no work dir')
    return runs


def parsed(file: Path, text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SystemExit(f'{file} cannot be read: {error}')


def _latest_test(work_dir: Path) -> Path:
    files = sorted(work_dir.glob('test/*/*.json'))
    if not files:
        raise SystemExit(
            f'{work_dir} was not tested: run tools/test.py CONFIG '
            f'{work_dir}/CHECKPOINT, whose results go to {work_dir}/test')
    return files[-1]


def tested(work_dir: Path) -> Dict[str, float]:
    """Metrics of the latest test."""
    file = _latest_test(work_dir)
    return parsed(file, file.read_text())


def logged(work_dir: Path, key: str) -> List[Tuple[int, float]]:
    """(iteration, value) of one key, over all starts of a training."""
    files = {file.parents[1]: file
             for file in sorted(work_dir.glob('*/vis_data/scalars.json'))}
    logs = {start: [parsed(file, line)
                    for line in file.read_text().splitlines()]
            for start, file in files.items()}
    points = {}
    for start in bench.latest([*logs]):
        first = min((entry['step'] for entry in logs[start]), default=np.inf)
        points = {step: x for step, x in points.items() if step < first}
        points.update((entry['step'], entry[key])
                      for entry in logs[start] if key in entry)
    return sorted(points.items())


def spread(values: Sequence[float]) -> str:
    """Mean, and deviation if there are several."""
    return f'{np.mean(values):.2f}' + (
        f' ± {np.std(values):.2f}' if len(values) > 1 else '')


def nets_of(metrics: Sequence[Dict[str, float]],
            starts: Sequence[Path]) -> Dict[str, str]:
    """Keys of the nets that were measured in each run, by their name.

    The config that a start dumped says which of them has no prefix.
    SystemExit where the runs are not of the same nets.
    """
    found = []
    for metric, start in zip(metrics, starts):
        first = bench.first_net(bench.load(start).model)
        keys = {name: 'mIoU' if net == first else f'{net}/mIoU'
                for net, name in NETS.items()}
        found.append({name: key for name, key in keys.items()
                      if key in metric})
        if found[-1] != found[0]:
            raise SystemExit(
                f'{start} measured {", ".join(found[-1])}, {starts[0]} '
                f'{", ".join(found[0])}: they have no mean')
    return found[0]


def table(runs: Dict[str, List[Path]]) -> str:
    """Markdown of the tests; one row per method and net."""
    rows = [
        '| method | net | runs | mIoU | of each run |',
        '|---|---|--:|--:|--:|'
    ]
    for name, dirs in runs.items():
        metrics = [tested(folder) for folder in dirs]
        starts = [_latest_test(folder).parent for folder in dirs]
        for net, key in nets_of(metrics, starts).items():
            values = [metric[key] for metric in metrics]
            each = ', '.join(f'{value:.2f}' for value in values)
            rows.append(f'| {name} | {net} | {len(values)} | '
                        f'{spread(values)} | {each} |')
    return '\n'.join(rows)


def validated(work_dir: Path) -> Dict[str, float]:
    """Step and metrics of the last validation; empty if there was none.

    With what was logged of the pseudo labels since the one before it.
    """
    steps = logged(work_dir, 'mIoU')
    if not steps:
        return {}
    step, since = steps[-1][0], steps[-2][0] if len(steps) > 1 else 0
    last = {'step': step}
    for key in ('mIoU', *(f'{net}/mIoU' for net in NETS)):
        last.update({key: x for at, x in logged(work_dir, key) if at == step})
    for key in ('unsup.confident', 'unsup.correct'):
        values = [x for at, x in logged(work_dir, key) if since < at <= step]
        if values:
            last[key] = 100 * np.mean(values)
    return last


def validations(runs: Dict[str, List[Path]]) -> str:
    """Markdown of the last validations; one row per method."""
    rows = [
        '| method | runs | iteration | mIoU teachers | mIoU student | '
        'confident % | correct % |', '|---|--:|--:|--:|--:|--:|--:|'
    ]
    for name, dirs in runs.items():
        last = [validated(folder) for folder in dirs]
        if not all(last):
            raise SystemExit(f'{dirs[last.index({})]} was not validated')
        starts = [max(folder.glob('*/vis_data/scalars.json')).parents[1]
                  for folder in dirs]
        nets = nets_of(last, starts)
        keys = [nets.get(net) for net in ('teachers', 'student')]
        cells = [spread([metrics[key] for metrics in last])
                 if all(key in metrics for metrics in last) else '–'
                 for key in (*keys, 'unsup.confident', 'unsup.correct')]
        steps = ', '.join(dict.fromkeys(str(x['step']) for x in last))
        rows.append(f'| {name} | {len(last)} | {steps} | '
                    f'{" | ".join(cells)} |')
    return '\n'.join(rows)


def by_class(work_dir: Path, measure: str) -> Dict[str, float]:
    """Of each class, for the net that is measured first in the latest test."""
    log, = _latest_test(work_dir).parent.glob('*.log')
    first = log.read_text().partition('per class results:')[2]
    first = first.partition('per class results:')[0]
    rows = [[cell.strip() for cell in line.strip('|').split('|')]
            for line in first.splitlines() if line.startswith('|')]
    column = rows[0].index(measure)
    return {row[0]: float(row[column]) for row in rows[1:]}


def classes(runs: Dict[str, List[Path]], measure: str) -> str:
    """Markdown of the tests; one row per class, one column per method."""
    rows = [f'| {measure} | {" | ".join(runs)} |',
            '|---|' + '--:|' * len(runs)]
    found = {name: [by_class(folder, measure) for folder in dirs]
             for name, dirs in runs.items()}
    for label in [*found.values()][0][0]:
        cells = (spread([run[label] for run in each])
                 for each in found.values())
        rows.append(f'| {label} | {" | ".join(cells)} |')
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
    print((validations if args.validation else table)(runs))
    if args.classes:
        print(f'\n{classes(runs, args.classes)}')
    if args.plot:
        plot(runs, args.plot)
        print(f'\ncurves: {args.plot}')


if __name__ == '__main__':
    main()
