"""A table of trainings, made of what they logged and of nothing else.

Trainings that differ in the seed alone are one row: mean and deviation (that
of numpy's std) of mIoU, hours and peak memory of a process; 'mIoU teachers' is
of the first that predict_with names. The latest test of the last checkpoint
counts, with the model and the images of the config. Run it where the trainings
ran: the lists of labelled images are read again, and 'list' is the start of
the sha256 of their sorted names, one per line.
"""
import argparse
import csv
import io
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from mmengine import Config

COLUMNS = ('method', 'backbone', 'data', 'protocol', 'list', 'labelled',
           'iterations', 'batch', 'seeds', 'mIoU teachers', 'mIoU student',
           'published', 'hours', 'GiB', 'device', 'versions', 'commit',
           'config')
LATEX = str.maketrans({
    **{char: f'\\{char}' for char in '&%$#_{}'}, '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '±': r'$\pm$',
    '–': '--', '|': r'\textbar{}'})


def load(start: Path) -> Config:
    """The config that a start dumped; SystemExit where it cannot be read."""
    file = start / 'vis_data/config.py'
    try:
        return Config.fromfile(file, import_custom_modules=False)
    except Exception as error:
        raise SystemExit(f'{file} cannot be read: {error!r}')


def latest(starts: Sequence[Path]) -> Sequence[Path]:
    """Those of the last training: what resumed none began another."""
    fresh = [i for i, start in enumerate(starts)
             if not load(start).get('resume')]
    return starts[max(fresh, default=0):]


def settings(cfg: Config) -> dict:
    """A config without the seed and what else a launch sets."""
    kept = {key: value for key, value in cfg.to_dict().items() if key not in (
        'work_dir', 'resume', 'launcher', 'model_wrapper_cfg', 'commit')}
    kept['randomness'] = {**kept.get('randomness', {}), 'seed': 0}
    # WORK_DIRS/<config>/seed<k>/<file>: of each seed its own
    own = re.search(r'([^/]+)/seed\d+/([^/]+)$', kept.get('load_from') or '')
    if own:
        kept['load_from'] = own.groups()
    return kept


def history(starts: Sequence[Path]) -> Tuple[Dict[int, dict], int]:
    """Training entries by step, and the last iteration that was reached."""
    steps, reached = {}, 0
    for start in starts:
        lines = (start / 'vis_data/scalars.json').read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        new = {entry['step']: entry for entry in entries if 'loss' in entry}
        first = min(new, default=np.inf)  # what was trained again is void
        steps = {k: steps[k] for k in steps if k < first} | new
        log = (start / f'{start.name}.log').read_text()
        saved = re.findall(r'Saving checkpoint at (\d+) iter', log)
        reached = max(*map(int, saved), *(e['step'] for e in entries), 0, 0)
    return steps, reached


def launch(start: Path) -> Dict[str, str]:
    """Cells of one start of a training; its log begins with them."""
    cfg, log = load(start), (start / f'{start.name}.log').read_text()
    env = dict(re.findall(r'^    (.+?): (.*)$', log, re.M))
    gpus = {env[key] for key in env if re.match(r'GPU [\d,]+$', key)}
    size = cfg.train_dataloader.batch_size * int(env['GPU number'])
    return {
        'seeds': env['seed'], 'batch': str(size),
        'device': f'{env["GPU number"]} x {" + ".join(gpus) or "CPU"}',
        'versions': f'Python {env["Python"].split()[0]}, PyTorch '
        f'{env["PyTorch"]}, MMEngine {env["MMEngine"]}',
        'commit': str(cfg.get('commit', '–'))}


def network(model: dict) -> dict:
    """What decides a test: lengths depend on the number of processes."""
    return {key: value for key, value in model.items()
            if key not in (
                'warmup_iters', 'ramp_iters', 'alternate_every')}


def labelled(images: dict) -> Dict[str, str]:
    """Cells that tell which images have labels."""
    path = Path(images.get('data_root') or '', images.get('ann_file') or '')
    if not path.is_file():
        return {'protocol': f'no list {path}'}
    names = sorted(map(str.strip, path.read_text().splitlines()))
    beside = path.with_name('protocol.txt')
    return {
        'protocol': beside.read_text().strip() if beside.is_file() else
        'no protocol.txt', 'labelled': str(len(names)), 'list':
        sha256(''.join(f'{n}\n' for n in names).encode()).hexdigest()[:8]}


def first_net(model: dict) -> str:
    """Whose prediction ``mIoU`` is of; a plain network is a student."""
    model = model.get('module', model)  # test-time augmentation wraps it
    if 'segmentor' not in model:
        return 'student'
    return str(np.ravel(model.get('predict_with', 'teachers'))[0])


def read(work_dir: Path) -> dict:
    """Cells of one training, and under other keys what is averaged."""
    starts = [log.parent for log in sorted(work_dir.glob('[0-9]*/*.log'))
              if (log.parent / 'vis_data/scalars.json').exists()]
    if not starts:
        return {'mIoU teachers': 'no log', 'config': work_dir, 'seeds': '–',
                'same': work_dir, 'means': {}}
    starts = latest(starts)
    cfg, (steps, reached) = load(starts[-1]), history(starts)
    model, images = cfg.model, cfg.train_dataloader.dataset
    images = images.get('labeled', images)
    parts = [launch(start) for start in starts]
    net, claims = model.get('segmentor', model), cfg.get('benchmark', {})
    row = {
        'method': 'supervised' if net is model else model.type,
        'backbone': '-'.join(str(net.backbone[key]) for key in (
            'type', 'depth', 'arch') if key in net.backbone),
        'data': Path(images.get('data_root') or images.type).name,
        **{key: claims[key] for key in ('method', 'data') if key in claims},
        **labelled(images), 'iterations': cfg.train_cfg.max_iters,
        **{key: ' then '.join(dict.fromkeys(part[key] for part in parts))
           for key in parts[0]},
        'config': ' + '.join(sorted(p.stem for p in work_dir.glob('*.py'))) or
        work_dir.resolve().parent.name}  # kept logs
    if claims.get('published') is not None:
        row['published'] = f'{claims.published:.2f}'
        if claims.get('protocol') != row['protocol']:
            row['note'] = (
                f'{row["published"]} was published for another protocol '
                f'({claims.get("protocol")}) than here ({row["protocol"]})')
            row['published'] = '–*'
    last, metrics = f'iter_{row["iterations"]}.pth', {}
    for file in sorted(work_dir.glob('test/*/*.json')):
        test = load(file.parent)
        if (file.parent.name > starts[-1].name and
                Path(test.load_from).name == last and
                network(test.model) == network(model) and
                test.test_dataloader.dataset == cfg.test_dataloader.dataset):
            metrics = json.loads(file.read_text())
    first = ('mIoU student'
             if first_net(model) == 'student' else 'mIoU teachers')
    if reached < row['iterations']:
        row[first] = f'not finished ({reached} of {row["iterations"]})'
        metrics = {}
    elif not metrics:
        row[first] = f'{last} not tested'
    passed = np.diff([0, *sorted(steps)])  # an entry tells of all since then
    times = [steps[step]['time'] for step in sorted(steps)]
    memory = [entry.get('memory', 0) for entry in steps.values()]
    means = {'mIoU student': metrics.get('student/mIoU'),
             first: metrics.get('mIoU'), 'hours': sum(passed * times) / 3600,
             'GiB': max(memory, default=0) / 1024 or None}
    return {**row, 'same': repr([{**row, 'seeds': ''}, settings(cfg)]),
            'means': {k: v for k, v in means.items() if v is not None}}


def table(work_dirs: Sequence[Path]) -> List[Dict[str, str]]:
    """A row for the trainings that differ in the seed alone, in order."""
    groups, rows = {}, []
    for work_dir in dict.fromkeys(p.resolve() for p in work_dirs):
        try:
            run = read(work_dir)
        except Exception as error:
            raise SystemExit(f'The logs or configs in {work_dir} cannot be '
                             f'read: {error!r}')
        groups.setdefault(run['same'], []).append(run)
    for runs in groups.values():
        row = {**dict.fromkeys([*COLUMNS, 'note'], '–'), **runs[0]}
        row['seeds'] = ', '.join(run['seeds'] for run in runs)
        for name in row['means']:
            values = [run['means'][name] for run in runs]
            row[name] = f'{np.mean(values):.2f}' + (
                f' ± {np.std(values):.2f}' if len(runs) > 1 else '')
        rows.append({key: ' '.join(str(row[key]).split())
                     for key in (*COLUMNS, 'note')})
    return rows


def render(rows: List[Dict[str, str]], style: str = 'markdown') -> str:
    """Text in one of the styles of --format."""
    if style == 'csv':
        file = io.StringIO(newline='')
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()
    lines = [COLUMNS, *([row[key] for key in COLUMNS] for row in rows)]
    feet = {f'* {row["note"]}': 0 for row in rows if row['note'] != '–'}
    signs, start, between, end = {
        'markdown': ({ord('|'): r'\|'}, '| ', ' | ', ' |'),
        'latex': (LATEX, '', ' & ', r' \\')}[style]
    lines = [start + between.join(cell.translate(signs) for cell in line) +
             end for line in lines]
    if style == 'latex':
        lines = [f'\\begin{{tabular}}{{{"l" * len(COLUMNS)}}}', lines[0],
                 r'\hline', *lines[1:], r'\end{tabular}']
    else:
        lines.insert(1, '|---' * len(COLUMNS) + '|')
    feet = [f'\n{foot.translate(signs)}' for foot in feet]
    return '\n'.join([*lines, *feet, ''])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('work_dirs', nargs='+', type=Path, help='trainings, '
                        'whose tests are in WORK_DIR/test')
    parser.add_argument('--format', default='markdown',
                        choices=('markdown', 'csv', 'latex'))
    parser.add_argument('--out', type=Path, help='file; printed if unset')
    args = parser.parse_args()
    for folder in args.work_dirs:
        if not folder.is_dir():
            parser.error(f'the work dir {folder} does not exist')
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error(f'--out {args.out} is no file in an existing folder')
    rows = table(args.work_dirs)
    text = render(rows, args.format)
    if args.out:
        args.out.write_text(text, encoding='utf-8')
    else:
        print(text, end='')
    if all(row['mIoU teachers'] == 'no log' for row in rows):
        raise SystemExit('No work dir holds the log of a training')


if __name__ == '__main__':
    main()
