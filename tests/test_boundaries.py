"""Who may import whom, and in which order the hooks run."""

import ast
import re
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Priority, Runner, get_priority
from mmseg.models import decode_heads
from mmseg.utils import register_all_modules
from test_mixtures import small

import mmseg_psmt
from mmseg_psmt.engine import hooks

ROOT = Path(mmseg_psmt.__file__).parent
NAMES = {
    path: '.'.join(path.relative_to(ROOT.parent).with_suffix('').parts)
    for path in sorted(ROOT.rglob('*.py'))
}
FILES = {name.removesuffix('.__init__'): path for path, name in NAMES.items()}

# The parts of the package, and what each may import of it besides itself. A
# part is named by its module or its folder; the longest name counts.
BASE = ['options', 'stack', 'randomness', 'visualization']
ALGORITHMS = [
    f'models.{name}'
    for name in (
        'conf_ce_loss',
        'ema',
        'pseudo_label',
        'ramp',
        'softmax_mse_loss',
        't_vat',
    )
]
# Helpers of the model that know no teacher.
PIECES = [
    f'models.{name}'
    for name in (
        'data_preprocessor',
        'dpt_neck',
        'encoders',
        'interfaces',
        'one_pass',
        'plain_weights',
        'prediction',
        'tta',
    )
]
MAY_IMPORT = {
    **{name: [] for name in BASE},
    'datasets.transforms': BASE,
    'datasets': [*BASE, 'datasets.transforms'],
    **{name: ['options'] for name in ALGORITHMS},
    **{name: ['options', 'stack', *ALGORITHMS] for name in PIECES},
    'models.heads': BASE,
    'models.head_tap': [*BASE, 'models.heads'],
    'models.teachers': [*BASE, *ALGORITHMS, 'models.heads', 'models.head_tap'],
    'models.psmt': [
        *BASE,
        *ALGORITHMS,
        *PIECES,
        'models.heads',
        'models.head_tap',
        'models.teachers',
    ],
    'evaluation': BASE,
    'engine': [*BASE, 'cli', 'datasets', 'models', 'evaluation'],
    'cli': [],
    'registry': [],
    'launch': [*BASE, 'datasets', 'models', 'evaluation', 'engine'],
}
# Files that only gather what lies below them.
GATHER = [
    '',
    'models',
    'datasets',
    'evaluation',
    'engine',
    'datasets.transforms',
    'engine.hooks',
]
EXCEPTIONS = {
    # Both leave out pixels that do not count, with its masked.
    ('models.softmax_mse_loss', 'models.conf_ce_loss'),
    # Which pixels count is told to the loss and to the log.
    ('models.conf_ce_loss', 'models.pseudo_label'),
}


def imports(name):
    """Full names of what a module of the package imports, or imports from."""
    package = (
        name if FILES[name].stem == '__init__' else name.rpartition('.')[0]
    )
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split('.')[: 1 - node.level or None]
            source = '.'.join(
                [
                    *(parts if node.level else []),
                    *([node.module] if node.module else []),
                ]
            )
            for alias in node.names:  # a module, or something in one
                whole = f'{source}.{alias.name}'
                yield whole if whole in FILES else source


def part(name):
    """The part of the package that a module belongs to."""
    short = name.removeprefix('mmseg_psmt').lstrip('.')
    return max(
        (key for key in MAY_IMPORT if f'{short}.'.startswith(f'{key}.')),
        key=len,
        default=short,
    )


def of_the_package(name):
    return f'{name}.'.startswith('mmseg_psmt.')


def allowed(importer, imported):
    mine, other = part(importer), part(imported)
    return (
        mine == other
        or (mine, other) in EXCEPTIONS
        or any(f'{other}.'.startswith(f'{key}.') for key in MAY_IMPORT[mine])
    )


@pytest.mark.parametrize('name', FILES)
def test_imports_go_one_way(name):
    short = name.removeprefix('mmseg_psmt').lstrip('.')
    of_us = [other for other in imports(name) if of_the_package(other)]
    if short in GATHER:
        assert all(f'{other}.'.startswith(f'{name}.') for other in of_us)
    else:
        assert not [other for other in of_us if not allowed(name, other)]
    assert not [
        other
        for other in imports(name)
        if other.split('.')[0] in ('tools', 'tests')
    ]


def test_every_file_has_a_place():
    """And every place in the tables a file."""
    places = {part(name) for name in FILES}
    assert places - {*GATHER} <= {*MAY_IMPORT}
    assert {*MAY_IMPORT} <= places
    for importer, imported in EXCEPTIONS:
        assert f'mmseg_psmt.{imported}' in imports(f'mmseg_psmt.{importer}')


@pytest.mark.parametrize(
    'importer, imported',
    [
        ('datasets.images', 'models'),
        ('models.psmt', 'datasets.images'),
        ('models.psmt', 'engine.resume'),
        ('datasets.checks', 'engine.resume'),
        ('evaluation.teacher_student_iou', 'models.psmt'),
        ('models.t_vat', 'models.heads'),
        ('models.heads', 'models.head_tap'),
        ('models.teachers', 'models.psmt'),
        ('options', 'stack'),
        ('datasets.transforms.multi_view', 'datasets.images'),
        ('engine.resume', 'launch'),
    ],
)
def test_what_is_never_allowed(importer, imported):
    assert not allowed(f'mmseg_psmt.{importer}', f'mmseg_psmt.{imported}')


@pytest.mark.parametrize(
    'name, known',
    [
        ('options', {'mmengine'}),
        ('stack', {'mmengine'}),
        ('randomness', {'mmengine'}),
        ('visualization', set()),
    ],
)
def test_what_all_others_import_knows_mmengine_at_most(name, known):
    tops = {other.split('.')[0] for other in imports(f'mmseg_psmt.{name}')}
    assert {top for top in tops if top.startswith('mm')} <= known


@pytest.mark.parametrize('name', ALGORITHMS)
def test_algorithms_know_nothing_of_mmseg_but_its_registry(name):
    foreign = {
        other
        for other in imports(f'mmseg_psmt.{name}')
        if other.startswith('mm') and not of_the_package(other)
    }
    assert foreign <= {'mmseg.registry'}


def test_only_one_file_names_decode_heads():
    words = re.compile(rf'\b({"|".join(decode_heads.__all__)})\b')
    naming = [
        name for name, path in FILES.items() if words.search(path.read_text())
    ]
    assert naming == ['mmseg_psmt.models.heads']


def test_only_the_model_composes():
    """All others know one other part of the model at most."""
    models = [name for name in FILES if name.startswith('mmseg_psmt.models.')]
    several = [
        name
        for name in models
        if len({other for other in imports(name) if other in models}) > 1
    ]
    assert several == ['mmseg_psmt.models.psmt']


def documented():
    """Priority and name of each hook, as the page of the hooks has them."""
    rows = re.findall(r'^([A-Z_]+) +(\w+)', hooks.__doc__, re.MULTILINE)
    assert {*hooks.__all__} <= {name for _, name in rows}
    return rows


def test_hooks_run_in_the_documented_order(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    register_all_modules()
    cfg = small('deeplabv3plus_r18_shapes_1-8', tmp_path, tmp_path, {})
    cfg.custom_hooks.append(dict(type='SpeedHook'))
    runner = Runner.from_cfg(cfg)
    order = [
        (get_priority(hook.priority), type(hook).__name__)
        for hook in runner.hooks
    ]
    assert order == [
        (Priority[priority].value, name) for priority, name in documented()
    ]
    assert all(isinstance(hook, Hook) for hook in runner.hooks)
