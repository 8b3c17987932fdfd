"""Tables and learning curves of trainings, from what they logged alone.

Reads CSV files of tools/reproduce.py and work dirs of any training of mmseg.
Trainings that differ in the seed alone are one row: mean and deviation (that
of numpy's std). The latest test of the last checkpoint counts, with the model
and the images of the config. 'gain' is that of the first net, seed by seed
over supervised training on the same labels for as many iterations. Read a work
dir where it was trained: its list of labeled images is read again, and 'list'
is the start of the sha256 of the sorted names, one per line.
"""

import argparse
import csv
import io
import json
import re
import sys
from contextlib import redirect_stdout
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Tuple

import numpy as np
from mmengine import Config

NETS = ('teachers', 'student', 'teacher1', 'teacher2')
# A run is told from another by these and by its seed.
SAME = (
    'config',
    'overrides',
    'images',
    'data',
    'protocol',
    'list',
    'labeled',
    'iterations',
    'batch',
    'settings',
)
MEASURED = (*NETS, 'hours', 'GiB')
SERIES = ('IoU', 'curve')  # by class; by iteration, of the net of 'gain'
COLUMNS = (
    *SAME,
    'seed',
    'method',
    'published',
    'device',
    'versions',
    'commit',
    *MEASURED,
    *SERIES,
)
SHOWN = (
    'config',
    'images',
    'protocol',
    'labeled',
    'iterations',
    'seed',
    *NETS,
    'gain',
    'published',
    'hours',
    'GiB',
)
LATEX = str.maketrans(
    {
        **{char: f'\\{char}' for char in '&%$#_{}'},
        '\\': r'\textbackslash{}',
        '~': r'\textasciitilde{}',
        '^': r'\textasciicircum{}',
        '±': r'$\pm$',
        '–': '--',
        '|': r'\textbar{}',
    }
)


class NoResult(Exception):
    """A training that cannot be a row yet, and why."""


def load(start: Path) -> Config:
    """Read the config that a start dumped; ValueError where that fails."""
    file = start / 'vis_data/config.py'
    try:
        return Config.fromfile(file, import_custom_modules=False)
    except Exception as error:
        raise ValueError(f'{file} cannot be read: {error!r}') from error


def parsed(file: Path) -> List[dict]:
    """Read a file with JSON in each line; ValueError where that fails."""
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f'{file} cannot be read: {error}') from error


def settings(cfg: Config) -> dict:
    """Return a config without the seed and what else a launch sets."""
    kept = {
        key: value
        for key, value in cfg.to_dict().items()
        if key
        not in (
            'work_dir',
            'resume',
            'launcher',
            'model_wrapper_cfg',
            'commit',
        )
    }
    kept['randomness'] = {**kept.get('randomness', {}), 'seed': 0}
    # WORK_DIRS/<config>/seed<k>/<file>: of each seed its own
    own = re.search(r'([^/]+)/seed\d+/([^/]+)$', kept.get('load_from') or '')
    if own:
        kept['load_from'] = own.groups()
    return kept


def digest(text: str) -> str:
    """Return the start of a sha256."""
    return sha256(text.encode()).hexdigest()[:8]


def launch(start: Path) -> Dict[str, str]:
    """Return the cells of one start; its text log begins with them."""
    cfg, log = load(start), (start / f'{start.name}.log').read_text()
    env = dict(re.findall(r'^    (.+?): (.*)$', log, re.M))
    gpus = {env[key] for key in env if re.match(r'GPU [\d,]+$', key)}
    size = cfg.train_dataloader.batch_size * int(env['GPU number'])
    return {
        'seed': env['seed'],
        'batch': str(size),
        'device': f'{env["GPU number"]} x {" + ".join(gpus) or "CPU"}',
        'versions': f'Python {env["Python"].split()[0]}, PyTorch '
        f'{env["PyTorch"]}, MMEngine {env["MMEngine"]}',
        'commit': cfg.get('commit', ''),
    }


def labeled(images: dict) -> Dict[str, str]:
    """Return the cells that tell which images have labels."""
    path = Path(images.get('data_root') or '', images.get('ann_file') or '')
    if not path.is_file():
        return {}
    names = sorted(map(str.strip, path.read_text().splitlines()))
    beside = path.with_name('protocol.txt')
    return {
        'protocol': beside.read_text().strip() if beside.is_file() else '',
        'labeled': str(len(names)),
        'list': digest(''.join(f'{name}\n' for name in names)),
    }


def images_of(loader: dict) -> str:
    """Name the images of a data set, such as 'val'."""
    dataset = loader['dataset']
    prefix = dataset.get('data_prefix') or {}
    return Path(dataset.get('ann_file') or prefix.get('img_path') or '').stem


def keys_of(model: dict) -> Dict[str, str]:
    """Return the metric of each net; a plain network is a student."""
    first = 'student'
    if 'segmentor' in model:
        first = str(np.ravel(model.get('predict_with', 'teachers'))[0])
    return {net: 'mIoU' if net == first else f'{net}/mIoU' for net in NETS}


def latest_test(work_dir: Path, cfg: Config, after: str) -> Tuple[dict, Path]:
    """Return metrics and folder of the last test of the model as trained."""

    def network(model: dict) -> dict:  # lengths follow the processes
        return {
            key: value
            for key, value in model.items()
            if key
            not in (
                'warmup_iters',
                'ramp_iters',
                'alternate_every',
                'predict_with',
            )
        }

    last = f'iter_{cfg.train_cfg.max_iters}.pth'
    for file in sorted(work_dir.glob('test/*/*.json'), reverse=True):
        test = load(file.parent)
        if (
            file.parent.name > after
            and Path(test.load_from).name == last
            and network(test.model) == network(cfg.model)
            and test.test_dataloader.dataset == cfg.test_dataloader.dataset
        ):
            return parsed(file)[0], file.parent
    raise NoResult(
        f'{work_dir} was not tested: run tools/test.py CONFIG '
        f'{work_dir}/{last}, whose results go to {work_dir}/test'
    )


def read(work_dir: Path, validation: bool = False) -> dict:
    """Return the record of one training.

    Args:
        work_dir (Path): Of the training.
        validation (bool): Take its last validation, also of an unfinished
            training, instead of its test. Defaults to False.

    Raises:
        NoResult: If it is not tested, or not validated.
    """
    with redirect_stdout(sys.stderr):  # onedl prints, and it is slow
        from mmseg_psmt.engine.logs import class_ious, history, losses

    starts, entries = history(work_dir)
    if not starts:
        raise NoResult(f'{work_dir} holds no log of a training')
    cfg, last = load(starts[-1]), starts[-1]
    steps = [entry for entry in entries if 'loss' in entry]
    curve = [entry for entry in entries if 'mIoU' in entry]
    if validation:
        if not curve:
            if any('aAcc' in entry for entry in entries):
                raise NoResult(
                    f'{work_dir} was validated without mIoU: add it to '
                    'iou_metrics of val_evaluator'
                )
            raise NoResult(f'{work_dir} was not validated')
        metrics, folder, tested = curve[-1], curve[-1]['start'], cfg
        iterations, loader = metrics['step'], cfg.val_dataloader
    else:
        if not cfg.get('test_dataloader'):
            raise NoResult(
                f'{work_dir} has no test_dataloader: compare its last '
                'validation with --validation'
            )
        iterations, loader = cfg.train_cfg.max_iters, cfg.test_dataloader
        saved = re.findall(
            r'Saving checkpoint at (\d+) iter',
            (last / f'{last.name}.log').read_text(),
        )
        reached = max([*map(int, saved), *(x['step'] for x in entries), 0])
        if reached < iterations:
            raise NoResult(
                f'{work_dir} is not finished ({reached} of '
                f'{iterations} iterations)'
            )
        metrics, folder = latest_test(work_dir, cfg, last.name)
        tested = load(folder)
    keys = keys_of(tested.model)
    nets = {net: metrics[key] for net, key in keys.items() if key in metrics}
    if not nets:
        raise NoResult(f'{folder} measured no mIoU')
    key = keys[next(iter(nets))]  # of the net that tables compare
    claims = cfg.get('benchmark', {})
    images = cfg.train_dataloader.dataset
    images = images.get('labeled', images)
    parts = [launch(start) for start in starts]
    # an exported config lies next to its weights
    name = ' + '.join(
        sorted(
            path.stem
            for path in work_dir.glob('*.py')
            if not path.with_suffix('.pth').exists()
        )
    )
    name, outer = name or work_dir.name, work_dir.resolve().parent.name
    record = {
        'config': name,
        'overrides': outer[len(name) + 1 :]
        if outer.startswith(f'{name}+')
        else '',
        'images': images_of(loader),
        'iterations': str(iterations),
        'settings': digest(json.dumps(settings(cfg), default=str)),
        'method': cfg.model.type if 'segmentor' in cfg.model else 'supervised',
        'data': Path(images.get('data_root') or images.type).name,
        **{key: claims[key] for key in ('method', 'data') if key in claims},
        **labeled(images),
        **{
            key: ' then '.join(dict.fromkeys(part[key] for part in parts))
            for key in parts[0]
        },
        **nets,
    }
    if claims.get('published') is not None:
        same = claims.get('protocol') == record.get('protocol')
        record['published'] = (
            f'{claims.published:.2f}'
            if same
            else (f'– ({claims.published:.2f} with {claims.get("protocol")})')
        )
    # an entry tells of all iterations since the one before
    passed = np.diff([0, *(entry['step'] for entry in steps)])
    record['hours'] = sum(passed * [x['time'] for x in steps]) / 3600
    memory = max((entry.get('memory', 0) for entry in steps), default=0)
    if memory:
        record['GiB'] = memory / 1024
    return {
        **record,
        'IoU': class_ious(folder / f'{folder.name}.log', [metrics[key]])[0],
        'curve': {str(x['step']): x[key] for x in curve if key in x},
        'losses': losses(steps),
    }


def read_csv(path: Path) -> List[dict]:
    """Return the records of a file; SystemExit where it holds others."""

    def value(key: str, text: str):
        if key in SERIES:
            items = (item.rpartition(' ') for item in text.split('; '))
            return {name: float(number) for name, _, number in items}
        return float(text) if key in MEASURED else text

    try:
        with path.open(newline='', encoding='utf-8') as file:
            return [
                {key: value(key, row[key]) for key in COLUMNS if row[key]}
                for row in csv.DictReader(file)
            ]
    except (KeyError, ValueError) as error:
        raise SystemExit(
            f'{path} holds no records of tools/reproduce.py: {error!r}'
        )


def write_csv(path: Path, records: Iterable[dict]) -> None:
    """Add records to a file; one of the same run is replaced."""

    def cell(key: str, value) -> str:
        if key in SERIES:
            return '; '.join(f'{k} {x:.2f}' for k, x in value.items())
        return str(round(float(value), 4)) if key in MEASURED else value

    old = read_csv(path) if path.exists() else []
    rows = {
        tuple(record.get(key, '') for key in (*SAME, 'seed')): {
            key: cell(key, record[key]) if key in record else ''
            for key in COLUMNS
        }
        for record in [*old, *records]
    }
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render([*rows.values()], 'csv'), encoding='utf-8')


def name_of(record: dict) -> str:
    """Write the config and its options."""
    return ' + '.join([record['config'], *record.get('overrides', '').split()])


def label_of(record: dict) -> str:
    """Write what --only matches."""
    return f'{name_of(record)} on {record.get("images")}'


def groups_of(records: Iterable[dict]) -> List[List[dict]]:
    """Return the records of each row of a table."""
    groups = {}
    for record in records:
        first = next(net for net in NETS if net in record)
        key = (first, *(record.get(key) for key in SAME))
        groups.setdefault(key, []).append(record)
    return [*groups.values()]


def labels_of(groups: Sequence[List[dict]]) -> List[str]:
    """Write what tells the rows of a table apart, in one line each."""
    labels = [label_of(runs[0]) for runs in groups]
    found = []
    for label, runs in zip(labels, groups):
        same = [one[0] for one, x in zip(groups, labels) if x == label]
        differing = ', '.join(
            f'{key} {runs[0].get(key, "unknown")}'
            for key in SAME
            if len({one.get(key) for one in same}) > 1
        )
        found.append(f'{label} ({differing})' if differing else label)
    return found


def spread(values: Sequence[float], sign: str = '') -> str:
    """Write the mean, and the deviation if there are several."""
    return f'{np.mean(values):{sign}.2f}' + (
        f' ± {np.std(values):.2f}' if len(values) > 1 else ''
    )


def score(record: dict) -> float:
    """Return the mIoU of the first net that was measured."""
    return next(record[net] for net in NETS if net in record)


def gain(runs: List[dict], groups: List[List[dict]]) -> str:
    """Compare with the supervised twin, over the seeds of both."""
    own = runs[0]
    if own['method'].startswith('supervised'):
        return ''
    same = ('images', 'data', 'list', 'labeled', 'iterations')
    twins = {
        group[0]['config']: group
        for group in groups
        if group[0]['method'].startswith('supervised')
        and not group[0].get('overrides')
        and all(group[0].get(key) == own.get(key) for key in same)
    }
    twin = twins.get(f'{own["config"]}_supervised') or (
        [*twins.values()][0] if len(twins) == 1 else []
    )
    theirs = {run['seed']: score(run) for run in twin}
    gains = [
        score(run) - theirs[run['seed']]
        for run in runs
        if run['seed'] in theirs
    ]
    return spread(gains, '+') if gains else ''


def table(records: Iterable[dict]) -> List[Dict[str, str]]:
    """Return a row for the trainings that differ in the seed alone."""
    rows, groups = [], groups_of(records)
    for runs in groups:
        row = {
            key: ', '.join(dict.fromkeys(run.get(key, '') for run in runs))
            for key in COLUMNS
            if key not in (*MEASURED, *SERIES)
        }
        row['seed'] = ', '.join(run['seed'] for run in runs)
        row.update(
            gain=gain(runs, groups),
            **{
                key: spread([run[key] for run in runs])
                if all(key in run for run in runs)
                else ''
                for key in MEASURED
            },
        )
        rows.append({key: ' '.join(x.split()) for key, x in row.items()})
    return rows


def compact(records: Iterable[dict]) -> List[Dict[str, str]]:
    """Return the table without what a reader does not compare."""
    rows = [{**row, 'config': name_of(row)} for row in table(records)]
    return [
        {
            key: row[key] or '–'
            for key in SHOWN
            if any(row[key] for row in rows)
        }
        for row in rows
    ]


def classes(records: Iterable[dict]) -> List[Dict[str, str]]:
    """Return a row per class, with a column per training."""
    groups = groups_of(records)
    columns = {
        label: [run.get('IoU', {}) for run in runs]
        for label, runs in zip(labels_of(groups), groups)
    }
    names = dict.fromkeys(
        name for ious in columns.values() for iou in ious for name in iou
    )
    if not names:
        raise SystemExit('No log has the IoU of each class')
    return [
        {
            'IoU': name,
            **{
                label: spread([iou[name] for iou in ious])
                if all(name in iou for iou in ious)
                else '–'
                for label, ious in columns.items()
            },
        }
        for name in names
    ]


def render(rows: List[Dict[str, str]], style: str = 'markdown') -> str:
    """Write rows in one of the styles of --format."""
    if style == 'csv':
        file = io.StringIO(newline='')
        writer = csv.DictWriter(file, rows[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()
    signs, start, between, end = {
        'markdown': ({ord('|'): r'\|'}, '| ', ' | ', ' |'),
        'latex': (LATEX, '', ' & ', r' \\'),
    }[style]
    lines = [
        start + between.join(x.translate(signs) for x in line) + end
        for line in ([*rows[0]], *(row.values() for row in rows))
    ]
    if style == 'latex':
        lines = [
            f'\\begin{{tabular}}{{{"l" * len(rows[0])}}}',
            lines[0],
            r'\hline',
            *lines[1:],
            r'\end{tabular}',
        ]
    else:
        lines.insert(1, '|---' * len(rows[0]) + '|')
    return '\n'.join([*lines, ''])


def plot(records: Iterable[dict], out: Path) -> None:
    """Draw the validations of each run, and the losses that are logged."""
    from mmseg_psmt.visualization import curves  # slow

    groups, panels = groups_of(records), {'validation mIoU': []}
    for label, runs in zip(labels_of(groups), groups):
        for run in runs:
            points = {int(k): x for k, x in run.get('curve', {}).items()}
            panels['validation mIoU'].append((label, points))
            for title, points in run.get('losses', {}).items():
                panels.setdefault(title, []).append((label, points))
    png = curves(panels)
    if not png:
        raise SystemExit('No row has a curve to draw')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(png)


def report(paths: Iterable[Path]) -> None:
    """Write the page of each training that was logged."""
    from mmseg_psmt.engine.report import write_report  # slow

    for folder in (x for path in paths for x in work_dirs(path)):
        try:
            line = f'report: {write_report(folder)}'
        except Exception as error:
            line = f'no report: {error!r}'
        print(line, file=sys.stderr)


def last_checkpoint(work_dir: Path) -> str:
    """The file that mmengine noted, empty if there is none yet."""
    file = work_dir / 'last_checkpoint'
    noted = file.read_text().strip() if file.exists() else ''
    here = work_dir / Path(noted).name  # the work dir may have been moved
    return str(here) if here.is_file() else noted


def work_dirs(path: Path) -> List[Path]:
    """Return the training in a folder, or those of its seeds."""
    return sorted(path.glob('seed*')) or [path]


def collect(
    paths: Iterable[Path], validation: bool = False
) -> Tuple[List[dict], List[str]]:
    """Return the records of CSV files and work dirs, and what lacks one."""
    records, notes = [], []
    for path in paths:
        if path.suffix == '.csv' and path.is_file():
            records += read_csv(path)
            continue
        if not path.is_dir():
            raise SystemExit(f'{path} is neither a work dir nor a CSV file')
        for folder in work_dirs(path):
            try:
                records.append(read(folder, validation))
            except NoResult as reason:
                notes.append(str(reason))
            except Exception as error:
                raise SystemExit(
                    f'The logs or configs in {folder} cannot be '
                    f'read: {error!r}'
                )
    return records, notes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'paths',
        nargs='+',
        type=Path,
        metavar='WORK_DIR_OR_CSV',
        help='a training, whose '
        'tests are in WORK_DIR/test, or a folder of seed*',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=['*'],
        metavar='PATTERN',
        help='rows whose "CONFIG [+ OPTION...] on IMAGES" '
        "matches, such as '*_1-8 on test'",
    )
    parser.add_argument(
        '--validation',
        action='store_true',
        help='of work dirs the last validation instead of the test',
    )
    parser.add_argument(
        '--classes',
        action='store_true',
        help='IoU of each class, of the first net',
    )
    parser.add_argument(
        '--format',
        default='markdown',
        choices=('markdown', 'csv', 'latex'),
        help='csv has every column',
    )
    parser.add_argument('--plot', type=Path, help='PNG file of the curves')
    parser.add_argument(
        '--report',
        action='store_true',
        help='write report.html into each work dir: curves, classes, sheets '
        'and settings, beside the supervised twin',
    )
    args = parser.parse_args()
    if args.plot and (args.plot.suffix != '.png' or args.plot.is_dir()):
        parser.error(
            f'--plot must be a file that ends in .png, got {args.plot}'
        )
    if args.report:
        report(path for path in args.paths if path.is_dir())
    # a terminal may lack the dash
    getattr(sys.stdout, 'reconfigure', dict)(errors='replace')
    records, notes = collect(dict.fromkeys(args.paths), args.validation)
    chosen = [
        record
        for record in records
        if any(fnmatch(label_of(record), pattern) for pattern in args.only)
    ]
    if not chosen:
        raise SystemExit(
            '\n'.join(notes)
            if notes
            else f'No row of {len(records)} matches --only'
        )
    rows = (
        classes if args.classes else table if args.format == 'csv' else compact
    )(chosen)
    print(render(rows, args.format), end='')
    print(*notes, sep='\n', end='\n' * bool(notes), file=sys.stderr)
    if args.plot:
        plot(chosen, args.plot)
        print(f'\ncurves: {args.plot}')


if __name__ == '__main__':
    main()
