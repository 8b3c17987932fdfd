"""What trainings of mmengine have logged, read again."""

import json
import os
import re
import warnings
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config

# That tell which images are validated.
PLACES = ('data_root', 'data_prefix', 'ann_file')


def load(start: Path) -> Config:
    """The config that a start dumped.

    Raises:
        ValueError: If it cannot be read, with its path.
    """
    file = start / 'vis_data/config.py'
    try:
        return Config.fromfile(file, import_custom_modules=False)
    except Exception as error:
        raise ValueError(f'{file} cannot be read: {error!r}') from error


def history(work_dir: Path) -> Tuple[List[Path], List[dict]]:
    """The starts of the last training in a folder, and what they logged.

    Args:
        work_dir (Path): Of the training.

    Returns:
        tuple[list[Path], list[dict]]: Folders of the starts, and the entries
        that no later start has repeated, each with its folder as ``start``.
        Both are empty where nothing was logged.

    Raises:
        ValueError: If a file cannot be read, with its path.
    """
    logs = {}
    for log in sorted(work_dir.glob('[0-9]*/*.log')):
        file = log.parent / 'vis_data/scalars.json'
        if not file.exists():
            continue
        logs[log.parent] = _entries(file)
    starts, entries = [*logs], []
    # what resumed none began another training
    fresh = [i for i, x in enumerate(starts) if not load(x).get('resume')]
    starts = starts[max(fresh, default=0) :]
    for start in starts:  # what was trained again is void
        first = min(
            (entry['step'] for entry in logs[start]), default=float('inf')
        )
        entries = [entry for entry in entries if entry['step'] < first] + [
            {**entry, 'start': start} for entry in logs[start]
        ]
    return starts, entries


def _entries(file: Path) -> List[dict]:
    """What each line holds, without a last one that a kill cut off."""
    text = file.read_text()
    *lines, last = text.splitlines() or ['']
    try:
        entries = [json.loads(line) for line in lines]
        try:
            return [*entries, json.loads(last)] if last else entries
        except ValueError:
            if text.endswith('\n') or not entries:
                raise
            warnings.warn(f'{file}: the last line is cut off and left out')
            return entries
    except ValueError as error:
        raise ValueError(f'{file} cannot be read: {error}') from error


def last_validation(work_dir: Path) -> dict:
    """The last entry of :func:`history` with mIoU; empty without one."""
    found = [entry for entry in history(work_dir)[1] if 'mIoU' in entry]
    return found[-1] if found else {}


def losses(entries: Iterable[dict]) -> Dict[str, Dict[int, float]]:
    """The loss of labeled and of unlabeled images by iteration.

    Args:
        entries (Iterable[dict]): Of :func:`history`.

    Returns:
        dict[str, dict[int, float]]: ``'supervised loss'`` of the student, and
        ``'unsupervised loss'`` as it is weighted; empty where there is none.
    """
    sup, unsup = {}, {}
    for entry in entries:
        if 'unsup.loss' in entry:
            unsup[entry['step']] = entry['unsup.loss']
        if 'loss' in entry:
            sup[entry['step']] = entry['loss'] - sum(
                value
                for key, value in entry.items()
                if re.match(r'unsup\.loss$|warm\d+\..*loss', key)
            )
    return {'supervised loss': sup, 'unsupervised loss': unsup}


def class_ious(log: Path, mious: Sequence[float]) -> List[Dict[str, float]]:
    """The IoU of each class, from the tables that mmseg's metric logs.

    Nets, evaluators and metrics follow each other in a log without a name. So
    a net is known by its mIoU, the mean of its table.

    Args:
        log (Path): A text log.
        mious (Sequence[float]): The mIoU of each net, with two decimals, in
            the order of the log.

    Returns:
        list[dict[str, float]]: Of each net the last such table; empty where
        there is none.
    """
    tables, found = [], []
    for text in log.read_text().split('per class results:')[1:]:
        head, *rows = [
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in text.splitlines()
            if line.startswith('|')
        ] or [[]]
        if 'IoU' in head:
            at = head.index('IoU') - len(head)
            name = slice(0, 1 - len(head) or None)
            tables.append(
                {'|'.join(row[name]): float(row[at]) for row in rows}
            )
    for miou in reversed(mious):
        same = [
            table
            for table in tables
            # both are rounded
            if abs(np.nanmean([*table.values()]) - miou) < 0.011
        ]
        found.append(same[-1] if same else {})
        tables = [table for table in tables if table is not found[-1]]
    return found[::-1]


def sheets(work_dir: Path) -> List[Path]:
    """Pictures of the pseudo labels of a training, the latest last."""
    return sorted(
        work_dir.glob('*/vis_data/vis_image/pseudo_labels*'),
        key=os.path.getmtime,
    )


def twin_of(work_dir: Path) -> Path:
    """Where the supervised twin of a training is, or should be.

    ``<work dir>_supervised``, or else the folder of the same name in
    ``<parent>_supervised``, as ``tools/reproduce.py`` has it.
    """
    work_dir = Path(work_dir).absolute()
    parent = work_dir.parent
    sibling = work_dir.with_name(f'{work_dir.name}_supervised')
    seeds = parent.with_name(f'{parent.name}_supervised') / work_dir.name
    return seeds if seeds.is_dir() and not sibling.is_dir() else sibling


def other_images(cfg: Config, start: Path) -> Optional[str]:
    """The option by which another start validates other images, if any."""
    pair = [
        (c.get('val_dataloader') or {}).get('dataset', {})
        for c in (cfg, load(start))
    ]
    return next(
        (key for key in PLACES if pair[0].get(key) != pair[1].get(key)), None
    )
