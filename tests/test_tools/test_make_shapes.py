"""Tests of the drawn data set."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import make_shapes
import numpy as np
import pytest
from PIL import Image

TOOL = make_shapes.__file__
SMALL = dict(num_train=12, num_val=3, labeled='1/2', size=48, seed=0)


def argv(out, **changed):
    args = [TOOL, '--out', str(out)]
    for key, value in {**SMALL, **changed}.items():
        args += [f'--{key.replace("_", "-")}', str(value)]
    return args


def run(out, **changed):
    """Run the tool in this process; return its exit status and its words."""
    words = io.StringIO()
    with (
        mock.patch.object(sys, 'argv', argv(out, **changed)),
        redirect_stdout(words),
        redirect_stderr(words),
    ):
        try:
            make_shapes.main()
        except SystemExit as error:
            if isinstance(error.code, int):
                return error.code, words.getvalue()
            return 1, str(error.code)
    return 0, words.getvalue()


def content(out):
    """Bytes of every file below a folder."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob('*'))
        if path.is_file()
    }


def names(out, split):
    path = out / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    return path.read_text().split()


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp('shapes') / 'set'
    subprocess.run([sys.executable, *argv(out)], check=True)
    return out


def test_same_seed_same_bytes(drawn, tmp_path):
    assert run(tmp_path)[0] == 0
    assert content(tmp_path) == content(drawn)


def test_other_seed_other_images(drawn, tmp_path):
    assert run(tmp_path, seed=1)[0] == 0
    first, second = content(drawn), content(tmp_path)
    images = [name for name in first if name.endswith('.jpg')]
    assert len(images) == 15
    assert all(first[name] != second[name] for name in images)


def test_bigger_set_extends_smaller(drawn, tmp_path):
    assert run(tmp_path, num_train=14)[0] == 0
    first, second = content(drawn), content(tmp_path)
    drawings = [name for name in first if name.endswith(('.jpg', '.png'))]
    assert len(drawings) == 30
    assert all(first[name] == second[name] for name in drawings)
    assert len(names(tmp_path, 'train')) == 14


def test_train_and_val_share_no_image(drawn):
    files = content(drawn)
    images = [files[name] for name in files if name.endswith('.jpg')]
    assert len(set(images)) == len(images)
    assert not set(names(drawn, 'train')) & set(names(drawn, 'val'))


def test_lists(drawn):
    train = names(drawn, 'train')
    labeled = names(drawn, 'semi/1_2/labeled')
    unlabeled = names(drawn, 'semi/1_2/unlabeled')
    assert len(train) == 12 and len(labeled) == 6 and len(unlabeled) == 6
    assert not set(labeled) & set(unlabeled)
    assert sorted(labeled + unlabeled) == train
    assert len(names(drawn, 'val')) == 3


def test_masks(drawn):
    meta = json.loads((drawn / 'meta.json').read_text())
    for name in names(drawn, 'train') + names(drawn, 'val'):
        image = Image.open(drawn / 'JPEGImages' / f'{name}.jpg')
        mask = Image.open(drawn / 'SegmentationClass' / f'{name}.png')
        assert image.size == mask.size == (48, 48)
        assert image.mode == 'RGB' and mask.mode == 'P'
        assert np.array(mask).max() < len(meta['classes'])
        palette = np.array(mask.getpalette()).reshape(-1, 3)
        expected = np.array(meta['palette'])
        used = np.unique(np.array(mask))
        assert np.array_equal(palette[used], expected[used])


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_every_class_is_labeled(tmp_path, seed):
    out = tmp_path / 'set'
    assert run(out, num_train=24, labeled='1/4', seed=seed)[0] == 0
    meta = json.loads((out / 'meta.json').read_text())
    found = set()
    for name in names(out, 'semi/1_4/labeled'):
        mask = Image.open(out / 'SegmentationClass' / f'{name}.png')
        found |= set(np.unique(np.array(mask)).tolist())
    assert found == set(range(len(meta['classes'])))


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(size=31), '--size must be at least 32'),
        (dict(num_train=0), '--num-train must be at least 1'),
        (dict(num_val=0), '--num-val must be at least 1'),
        (dict(seed=-1), '--seed must be at least 0'),
        (dict(labeled='1'), '--labeled must be a share between 0 and 1'),
        (dict(labeled='1/0'), '--labeled must be a share between 0 and 1'),
        (dict(labeled='some'), '--labeled must be a share between 0 and 1'),
        (dict(labeled='1/8'), 'shapes need one each'),
    ],
)
def test_refuses_arguments(tmp_path, changed, message):
    out = tmp_path / 'set'
    status, words = run(out, **changed)
    assert status == 2
    assert message in words
    assert not out.exists()


def test_same_set_is_kept(drawn):
    before = content(drawn)
    status, words = run(drawn, labeled='2/4')
    assert status == 0
    assert 'nothing to do' in words
    assert content(drawn) == before


def test_refuses_other_set(drawn):
    before = content(drawn)
    status, words = run(drawn, seed=5)
    assert status == 1
    assert 'delete it or choose another --out' in words
    assert content(drawn) == before


def test_refuses_foreign_folder(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    status, words = run(tmp_path)
    assert status == 1
    assert 'delete it or choose another --out' in words
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_refuses_file(tmp_path):
    out = tmp_path / 'file'
    out.write_text('mine')
    status, words = run(out)
    assert status == 1
    assert out.read_text() == 'mine'


def test_shapes_are_drawn_where_the_configs_read_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PSMT_DATA', 'mine')
    monkeypatch.setattr(
        sys,
        'argv',
        [TOOL, '--num-train', '40', '--num-val', '1', '--size', '32'],
    )
    make_shapes.main()
    assert Path('mine/shapes/meta.json').exists()
