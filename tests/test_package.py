"""The wheel is the whole product: package, configs and tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope

import mmseg_psmt
from mmseg_psmt import cli

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """Where the wheel of this checkout is installed, without the checkout."""
    folder = tmp_path_factory.mktemp('site')
    shutil.rmtree(ROOT / 'build', ignore_errors=True)  # of another commit
    for words in (
        ['wheel', '-w', folder / 'wheel', ROOT],
        [
            'install',
            '--target',
            folder,
            'mmseg_psmt',
            '--no-index',
            '--find-links',
            folder / 'wheel',
        ],
    ):
        command = [sys.executable, '-m', 'pip', *words, '-q', '--no-deps']
        if words[0] == 'wheel':
            pytest.importorskip('setuptools')
            command.append('--no-build-isolation')
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True
        )
        assert not done.returncode, done.stderr
    return folder


def run(site, folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(site)},
    )


def test_everything_is_in_it(site):
    inside = site / 'mmseg_psmt/.mim'
    for part in ('configs', 'tools'):
        files = {
            path.relative_to(ROOT / part)
            for path in (ROOT / part).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts
        }
        assert files == {
            path.relative_to(inside / part)
            for path in (inside / part).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts
        }
    assert (inside / 'model-index.yml').is_file()
    assert (site / 'mmseg_psmt/py.typed').is_file()
    about = next(site.glob('mmseg_psmt-*.dist-info'))
    metadata = (about / 'METADATA').read_text()
    assert f'Version: {mmseg_psmt.__version__}' in metadata
    assert 'Author: The mmseg_psmt authors' in metadata
    assert 'Apache-2.0' in metadata and [*about.rglob('LICENSE')]


def test_configs_by_the_name_of_the_package(site, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = ['mmseg_psmt::_base_/psmt.py',\n"
        "          'mmseg::_base_/schedules/schedule_20k.py']\n"
        'custom_hooks = _base_.psmt.hooks\n'
    )
    done = run(
        site,
        tmp_path,
        '-c',
        (
            'import mmseg_psmt\nfrom mmengine.config import Config\n'
            "cfg = Config.fromfile('mine.py', import_custom_modules=False)\n"
            'print(mmseg_psmt.__file__, cfg.custom_hooks[0].type, '
            'cfg.train_cfg.max_iters)'
        ),
    )
    where, *found = done.stdout.split()[-3:]
    assert found == ['TeacherEMAHook', '20000'], done.stderr
    assert where.startswith(str(site))


def test_configs_of_the_package_from_a_checkout(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text("_base_ = 'mmseg_psmt::_base_/psmt.py'\n")
    cfg = Config.fromfile(file, import_custom_modules=False)
    assert cfg.psmt.model.type == 'PSMT'


def test_what_is_inherited_by_the_name_of_the_package_is_built(tmp_path):
    """In the scope of mmengine's own registries, as a runner builds it."""
    (tmp_path / 'mine.py').write_text(
        "_base_ = ['mmseg_psmt::_base_/models/deeplabv3plus_r18-d16.py']\n"
    )
    file = tmp_path / 'semi.py'
    file.write_text(
        "_base_ = ['mine.py', 'mmseg_psmt::_base_/psmt.py']\n"
        'hooks = _base_.psmt.hooks\n'
        'model = dict(_delete_=True, **_base_.psmt.model, '
        'segmentor=_base_.model)\n'
        'evaluator = _base_.psmt.evaluator\n'
    )
    cfg = Config.fromfile(file, import_custom_modules=False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        hooks = [HOOKS.build(hook) for hook in cfg.hooks]
        METRICS.build(cfg.evaluator)
    assert type(model).__name__ == 'PSMT'
    assert {type(hook).__module__.split('.')[0] for hook in hooks} == {
        'mmseg_psmt'
    }


def test_tools_from_any_folder(site, tmp_path):
    done = run(
        site,
        tmp_path,
        '-m',
        'mmseg_psmt.cli',
        'make_shapes',
        '--out',
        'drawn',
        '--num-train',
        '40',
        '--num-val',
        '1',
    )
    assert not done.returncode, done.stderr
    assert [*(tmp_path / 'drawn').rglob('*.png')]


def test_commands_are_ready_to_copy(site, tmp_path, monkeypatch):
    asked = "from mmseg_psmt.cli import command; print(*command('train'))"
    done = run(site, tmp_path, '-c', asked)
    assert done.stdout.split() == ['psmt', 'train'], done.stderr
    for folder, tools in (ROOT, 'tools'), (ROOT.parent, f'{ROOT.name}/tools'):
        monkeypatch.chdir(folder)
        assert cli.command('results') == [
            'python',
            f'{tools}/analysis_tools/results.py',
        ]
        assert cli.command('dist_train') == [f'{tools}/dist_train.sh']


def test_tools_of_shell(site, tmp_path):
    done = run(site, tmp_path, '-m', 'mmseg_psmt.cli', 'dist_train')
    assert done.returncode == 2 and 'Usage' in done.stderr


@pytest.mark.parametrize(
    'words, code', [([], 0), (['--help'], 0), (['trian'], 2)]
)
def test_which_tools_there_are(words, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['psmt', *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    text = ''.join(capsys.readouterr())
    assert 'make_splits' in text and 'dist_train' in text
    assert ("no tool 'trian'" in text) == (code == 2)
