"""A page about a training, from what it has logged alone."""

import inspect
from base64 import b64encode
from html import escape
from math import isnan, nan
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import cv2
from mmengine.config import Config
from mmseg.registry import HOOKS, MODELS

from ..models.psmt import PSMT
from ..models.teachers import Teachers
from ..options import is_type
from ..visualization import curves
from .logs import (
    class_ious,
    history,
    load,
    losses,
    other_images,
    sheets,
    twin_of,
)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 1000px; margin: 2em auto;
  padding: 0 1em; color: #222; background: #fff; }}
img {{ display: block; max-width: 100%; margin: 1em 0; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.2em 1em;
  text-align: left; overflow-wrap: anywhere; }}
.numbers th + th, .numbers td + td {{ text-align: right; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
# Options of PSMT that every config sets: what is trained, not how.
GIVEN = ('segmentor', 'data_preprocessor', 'predict_with', 'decode_head')
TWIN = 'supervised'


def write_report(work_dir: Path, twin: Optional[Path] = None) -> Path:
    """Write ``report.html``: one file, for any browser.

    The IoU of each class in the last validation beside that of the supervised
    twin, curves, the last sheets of pseudo labels, and the settings that
    differ from the default. What was not logged has no section.

    Args:
        work_dir (Path): Of a training, also of an unfinished one.
        twin (Path, optional): Of the supervised training. Defaults to
            :func:`twin_of` it.

    Returns:
        Path: The file, in ``work_dir``.

    Raises:
        ValueError: If nothing was logged, or a log cannot be read.
    """
    work_dir = Path(work_dir)
    starts, entries = history(work_dir)
    if not starts:
        raise ValueError(
            f'{work_dir} holds no log of a training. LocalVisBackend in '
            'visualizer.vis_backends writes one'
        )
    cfg = load(starts[-1])
    nets = _nets(cfg.model)
    theirs = history(Path(twin or twin_of(work_dir)))[1]
    if theirs and other_images(cfg, theirs[-1]['start']):
        theirs = []
    sections = {
        'IoU of each class': _classes(
            _scores(entries, nets), _scores(theirs, [TWIN])
        ),
        'Curves': _image('png', curves(_panels(entries, nets, theirs))),
        'Last sheets of pseudo labels': '\n'.join(
            _image('jpeg', _small(path)) for path in sheets(work_dir)[-2:]
        ),
        'Settings that differ from the default': _settings(cfg),
    }
    out = work_dir / 'report.html'
    body = '\n'.join(
        f'<h2>{name}</h2>\n{text}' for name, text in sections.items() if text
    )
    title = escape('/'.join(work_dir.absolute().parts[-2:]))
    out.write_text(PAGE.format(title=title, body=body), encoding='utf-8')
    return out


def _nets(model: dict) -> List[str]:
    """What is validated, the first without a prefix in the log."""
    if not is_type(MODELS, model.get('type'), PSMT):
        return [TWIN]
    nets = model.get('predict_with', 'teachers')
    return [nets] if isinstance(nets, str) else [*nets]


def _validations(entries: Sequence[dict], nets: Sequence[str]) -> dict:
    """The mIoU of each net by iteration."""
    keys = {net: f'{net}/mIoU' if i else 'mIoU' for i, net in enumerate(nets)}
    return {
        net: {x['step']: x[key] for x in entries if key in x}
        for net, key in keys.items()
    }


def _scores(
    entries: Sequence[dict], nets: Sequence[str]
) -> Dict[str, Dict[str, float]]:
    """The last IoU of each class and the mIoU, by net and iteration."""
    found = {k: x for k, x in _validations(entries, nets).items() if x}
    if not found:
        return {}
    (start,) = [x['start'] for x in entries if 'mIoU' in x][-1:]
    last = [mious[max(mious)] for mious in found.values()]
    ious = class_ious(start / f'{start.name}.log', last)
    return {
        f'{net} at {max(mious)}': {**iou, 'mIoU': mious[max(mious)]}
        for (net, mious), iou in zip(found.items(), ious)
    }


def _classes(own: dict, plain: dict) -> str:
    columns = {**own, **plain}
    if own and plain:
        first, twin = [*own.values()][0], [*plain.values()][0]
        columns['gain'] = {
            name: iou - twin.get(name, nan) for name, iou in first.items()
        }
    names = dict.fromkeys(name for ious in own.values() for name in ious)
    rows = [
        (
            name,
            *(
                '–'
                if isnan(ious.get(name, nan))
                else f'{ious[name]:{"+" * (column == "gain")}.2f}'
                for column, ious in columns.items()
            ),
        )
        for name in names
    ]
    return _table(('class', *columns), rows, 'numbers')


def _panels(
    entries: Sequence[dict], nets: Sequence[str], theirs: Sequence[dict]
) -> Dict[str, List[Tuple[str, dict]]]:
    """What :func:`curves` draws."""
    student = TWIN if nets == [TWIN] else 'student'
    own, plain = losses(entries), losses(theirs)
    return {
        'validation mIoU': [
            *_validations(entries, nets).items(),
            *_validations(theirs, [TWIN]).items(),
        ],
        **{
            title: [(student, own[title]), (TWIN, plain[title])]
            for title in own
        },
        'share of the pixels': [
            (name, {x['step']: x[key] for x in entries if key in x})
            for name, key in (
                ('confident', 'unsup.confident'),
                ('correct of these', 'unsup.correct'),
            )
        ],
    }


def _settings(cfg: Config) -> str:
    if not is_type(MODELS, cfg.model.get('type'), PSMT):
        return ''
    rows = [*_differing(cfg.model, PSMT, 'model')]
    for hook in cfg.get('custom_hooks') or []:
        kind = HOOKS.get(hook['type'])
        if kind and kind.__module__.startswith('mmseg_psmt.'):
            rows += _differing(hook, kind, kind.__name__)
    return _table(('option', 'here', 'default'), rows) or '<p>None.</p>'


def _differing(
    options: dict, built: type, prefix: str
) -> Iterator[Tuple[str, str, str]]:
    """Name, value and default of what is not as the constructor has it."""
    for name, parameter in inspect.signature(built).parameters.items():
        if name not in options or name in GIVEN:
            continue
        value, default = _plain(options[name]), _plain(parameter.default)
        label = f'{prefix}.{name}'
        if isinstance(value, dict) and isinstance(default, dict):
            kind = default.get('type')
            if value.get('type', kind) == kind:
                part = MODELS.get(kind) if kind else Teachers
                yield from _differing(value, part, label)
                continue
        if value != default:
            yield label, repr(value), repr(default)


def _plain(value: Any) -> Any:
    """A value as a config file has it."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value


def _small(path: Path) -> bytes:
    """A sheet as a JPEG of at most 1,000 pixels in width."""
    image = cv2.imread(str(path))
    shrink = min(1, 1000 / image.shape[1])
    image = cv2.resize(
        image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA
    )
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    return cv2.imencode('.jpg', image, quality)[1].tobytes()


def _image(kind: str, data: bytes) -> str:
    text = b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{text}" alt=""/>' * bool(text)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], style: str = ''
) -> str:
    if not rows:
        return ''
    lines = [
        f'<tr>{"".join(f"<{tag}>{escape(x)}</{tag}>" for x in row)}</tr>'
        for tag, row in [('th', head), *(('td', row) for row in rows)]
    ]
    return '\n'.join([f'<table class="{style}">', *lines, '</table>'])
