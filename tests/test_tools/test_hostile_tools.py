"""Hostile arguments: one line that names them, and nothing written."""

import io
import os
import pickle
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import export
import pytest
import torch
from mmengine import Config
from PIL import Image

from mmseg_psmt.launch import ALLOW_CODE

REPO = Path(__file__).parents[2]
TOOLS = {path.parent for path in (REPO / 'tools').rglob('*.py')}
FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
CONFIG = str(REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py')
PLAIN = str(REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8_supervised.py')

RESULTS = 'analysis_tools/results'


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path('boom'),)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with hostile files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PSMT_DATA', str(tmp_path))
    for name in (FORCE, ALLOW_CODE, 'WORLD_SIZE'):
        monkeypatch.setenv(name, '')
    monkeypatch.delenv('WORLD_SIZE')
    Path('folder').mkdir()
    Path('empty.pth').touch()
    Path('text.py').write_text('(')
    Path('none.py').write_text('a = 1\n')
    Path('other.csv').write_text('a,b\n1,2\n')
    torch.save(dict(meta={}, state_dict={}, bomb=Bomb()), 'bomb.pth')
    Path('pickle.pth').write_bytes(pickle.dumps(Bomb()))
    Path('cut.pth').write_bytes(Path('bomb.pth').read_bytes()[:200])
    torch.save([1], 'list.pth')
    torch.save(dict(meta=None), 'meta.pth')
    torch.save(dict(meta=dict(cfg='('), state_dict={}), 'cfg.pth')
    torch.save(
        dict(
            meta=dict(
                cfg='import os; os.mkdir("boom")\n'
                'model = dict(type="PSMT", segmentor=dict())'
            ),
            state_dict={},
        ),
        'code.pth',
    )
    Path('run/20200101_000000/vis_data').mkdir(parents=True)
    Path('run/20200101_000000/20200101_000000.log').write_text('x')
    Path('run/20200101_000000/vis_data/scalars.json').write_text('{')
    Path('run/20200101_000000/vis_data/config.py').write_text('(')
    shutil.copytree('run', 'other')
    Path('other/20200101_000000/vis_data/scalars.json').write_text(
        '{"mIoU": 1.0, "step": 2}'
    )
    Path('run/test/20200101_000000').mkdir(parents=True)
    Path('run/test/20200101_000000/20200101_000000.json').write_text('{')
    return tmp_path


def tree():
    """All below the working directory, and in the repository's folders."""
    found = {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in Path().rglob('*')
    }
    for folder in (REPO, REPO / 'docs', REPO / 'configs', *TOOLS):
        found.update(
            (path, path.stat().st_mtime_ns)
            for path in folder.iterdir()
            if path.is_file()
        )
    return found


def call(tool, *argv):
    """Exit code and last words of a tool, run in this process."""
    words = io.StringIO()
    old = sys.argv
    sys.argv = [tool, *map(str, argv)]
    try:
        with (
            mock.patch.dict(os.environ),
            redirect_stdout(words),
            redirect_stderr(words),
        ):
            (path,) = (REPO / 'tools').rglob(f'{tool}.py')
            runpy.run_path(str(path), run_name='__main__')
    except SystemExit as error:
        if isinstance(error.code, int):
            return error.code, words.getvalue().strip().splitlines()[-1]
        return 1, str(error.code)
    finally:
        sys.argv = old
    return 0, words.getvalue()


@pytest.mark.parametrize(
    'words, named',
    [
        ('make_splits gone.py --labeled 1/2 --out out', 'gone.py'),
        ('make_splits folder --labeled 1/2 --out out', 'folder'),
        ('make_splits text.py --labeled 1/2 --out out', 'text.py'),
        ('make_splits none.py --labeled 1/2 --out out', 'train_dataloader'),
        (
            f'make_splits {CONFIG} --import gone.txt --out out',
            'train_dataloader',
        ),
        (
            f'make_splits {CONFIG} --labeled 1/2 --out empty.pth/a/b',
            'empty.pth',
        ),
        (f'make_splits {CONFIG} --labeled 1/2 --out empty.pth', 'empty.pth'),
        ('check_data gone.py', 'gone.py'),
        ('check_data folder', 'folder'),
        ('check_data text.py', 'text.py'),
        ('check_data none.py', 'none.py'),
        (f'check_data {CONFIG} --out folder', 'folder'),
        (f'check_data {CONFIG} --out {CONFIG}', CONFIG),
        ('export gone.pth out.pth', 'gone.pth'),
        ('export folder out.pth', 'folder'),
        ('export empty.pth out.pth', 'empty.pth'),
        ('export cut.pth out.pth', 'cut.pth'),
        ('export bomb.pth out.pth', 'bomb.pth'),
        ('export pickle.pth out.pth', 'pickle.pth'),
        ('export list.pth out.pth', 'list.pth'),
        ('export meta.pth out.pth', 'meta.pth'),
        ('export cfg.pth out.pth', 'cfg.pth'),
        ('export code.pth out.pth', 'code.pth'),
        ('export bomb.pth bomb.pth', 'bomb.pth'),
        ('export bomb.pth text.pth', 'text.py'),
        ('export bomb.pth empty.pth/out.pth', 'empty.pth'),
        ('prepare_data voc gone.tar --out out', 'gone.tar'),
        ('prepare_data voc folder --out out', 'folder'),
        ('prepare_data voc empty.pth --out out', 'empty.pth'),
        ('prepare_data cityscapes bomb.pth --out empty.pth', 'empty.pth'),
        ('make_shapes --out empty.pth', 'empty.pth'),
        ('make_shapes --out empty.pth/a', 'empty.pth'),
        ('make_shapes --out run', 'run'),
        (f'{RESULTS} gone', 'gone'),
        (f'{RESULTS} empty.pth', 'empty.pth'),
        (f'{RESULTS} folder', 'folder holds no log'),
        (f'{RESULTS} folder --validation', 'folder holds no log'),
        (f'{RESULTS} run', 'scalars.json cannot be read'),
        (f'{RESULTS} other --validation', 'vis_data/config.py cannot be read'),
        (f'{RESULTS} other.csv', 'other.csv holds no records'),
        (f'{RESULTS} run --plot folder', 'folder'),
        ('reproduce gone.py', 'gone.py'),
        ('reproduce folder', 'folder'),
        ('reproduce text.py --list', 'text.py'),
        ('reproduce none.py --list', 'none.py'),
        (f'reproduce {CONFIG} --seeds -1', '-1'),
        (f'reproduce {CONFIG} --gpus 0', '--gpus'),
        (f'reproduce {CONFIG} --jobs 0', '--jobs'),
        (f'reproduce {CONFIG} --jobs 2 --gpus 2', '--jobs'),
        (f'reproduce {CONFIG} --vary gone', 'gone'),
        (f'reproduce {CONFIG} --vary a={"b" * 256}', '255 bytes'),
        (f'reproduce {CONFIG} --work-dirs empty.pth', 'empty.pth'),
        (f'reproduce {CONFIG} --csv empty.pth/a.csv', '--csv'),
        (f'reproduce {CONFIG} --csv folder', '--csv'),
        (f'reproduce {CONFIG} --csv other.csv', 'other.csv holds no records'),
        ('draw_predictions gone --out a.png', 'gone'),
        ('draw_predictions a=gone --out a.png', 'a=gone'),
        ('draw_predictions a=run --out a.png', 'a=run'),
        ('list_heads --out folder', 'folder'),
        ('list_heads --out gone/a.md', 'gone'),
    ],
)
def test_a_user_error_is_named_and_writes_nothing(place, words, named):
    tool, *argv = words.split()
    before = tree()
    code, message = call(tool, *argv)
    assert code not in (0, None)
    assert named in message, message
    assert tree() == before


@pytest.mark.parametrize(
    'words',
    [
        'make_shapes --out new/shapes --num-train 40 --num-val 1 --size 32',
        'list_heads --out heads.md',
        'check_data CONFIG --out sheet/a.png --cfg-options '
        'train_dataloader.batch_size=2',
        'make_splits CONFIG --labeled 1/2 --out lists',
    ],
)
def test_tools_write_where_they_were_told(place, words):
    if 'CONFIG' in words:
        call(
            'make_shapes',
            '--out',
            'shapes',
            '--num-train',
            40,
            '--num-val',
            1,
            '--size',
            32,
        )
    before = tree()
    tool, *argv = words.replace('CONFIG', CONFIG).split()
    call(tool, *argv)
    out = Path(argv[argv.index('--out') + 1])
    assert out.exists()
    after = {
        path: seen
        for path, seen in tree().items()
        if out not in (path, *path.parents) and path not in out.parents
    }
    assert after == {path: before[path] for path in after}
    assert before.keys() <= tree().keys()


TINY = """
custom_imports = dict(imports=['mmseg_psmt'])
default_scope = 'mmseg'
data = dict(
    type='BaseSegDataset',
    data_root='.',
    img_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='masks'),
    metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]]),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs')
    ])
backbone = dict(type='ResNetV1c', depth=18, base_channels=4)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    backbone=backbone,
    decode_head=dict(
        type='FCNHead', in_channels=32, channels=4, num_classes=2,
        num_convs=1, norm_cfg=dict(type='BN')),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
train_dataloader = dict(
    batch_size=2, sampler=dict(type='InfiniteSampler'), dataset=data)
test_dataloader = dict(
    batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=data)
test_evaluator = dict(type='IoUMetric')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
work_dir = 'work'
log_level = 'ERROR'
"""


@pytest.fixture
def tiny(place):
    for folder, mode in (('images', 'RGB'), ('masks', 'L')):
        Path(folder).mkdir()
        for name in 'ab':
            Image.new(mode, (32, 32)).save(f'{folder}/{name}.png')
    Path('tiny.py').write_text(TINY)


BACKBONE = 'model.backbone.init_cfg'


@pytest.mark.parametrize(
    'words',
    [
        'train tiny.py --cfg-options load_from=bomb.pth',
        'train tiny.py --resume --cfg-options load_from=bomb.pth',
        f'train tiny.py --cfg-options {BACKBONE}.type=Pretrained '
        f'{BACKBONE}.checkpoint=bomb.pth',
        'test tiny.py bomb.pth',
        'test tiny.py pickle.pth',
    ],
)
def test_code_in_a_checkpoint_is_not_run(tiny, words):
    tool, *argv = words.split()
    code, message = call(tool, *argv)
    assert code and not Path('boom').exists()
    for word in ('more than data', f'{ALLOW_CODE}=1', 'trust'):
        assert word in message


def test_code_in_a_checkpoint_is_run_where_that_is_allowed(tiny, monkeypatch):
    monkeypatch.setenv(ALLOW_CODE, '1')
    with pytest.raises(ValueError, match='of the model random'):
        call('test', 'tiny.py', 'bomb.pth')  # it holds no weights
    assert Path('boom').exists()


@pytest.mark.parametrize('path', [CONFIG, PLAIN, None])
def test_the_config_in_a_checkpoint_is_read_as_python_would(path):
    cfg = (
        Config.fromfile(path)
        if path
        else Config(
            {
                'a': [dict(b=-1.5, c=(1, 'x')), {}],
                'd': {'e f': {1: None}, 'g': {}},
                'h': {'i': dict(j=True, k={'l-m': [()]})},
            }
        )
    )
    assert export.config_of(cfg.pretty_text).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = open("boom", "w")',
        'a = dict(**{}, b=1)',
        'open("boom", "w")',
        'a = [dict(b=open("boom", "w"))]',
        'a.b = 1',
        '(',
    ],
)
def test_code_in_the_config_of_a_checkpoint_is_not_run(place, text):
    with pytest.raises((AttributeError, SyntaxError, ValueError)):
        export.config_of(text)
    assert not Path('boom').exists()
