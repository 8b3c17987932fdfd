"""Processes and files that fail in the middle of a training."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
from fake_data import fake_shapes
from mmseg.registry import DATASETS, TRANSFORMS
from mmseg.utils import register_all_modules
from PIL import Image
from test_train_and_test import REPO, TINY
from test_unlabeled_folder import cut, save

from mmseg_psmt.datasets import unlabeled_folder

register_all_modules()
LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackSegInputs')
VIEWS = dict(type='MultiView', weak=[PACK], strong=[PACK])
HANG = 600  # seconds, far above what a busy machine needs

FAULTY = """
_base_ = 'tiny.py'
custom_imports = dict(imports=['mmseg_psmt', 'faults', 'unformatted'])
custom_hooks = [*_base_.psmt.hooks, dict(type='FaultHook', rank=-1, deeds=@)]
model = dict(teachers=dict(init='copy'), warmup_iters=1)
train_cfg = dict(max_iters=1000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        unlabeled=dict(
            _delete_=True,
            type='UnlabeledFolder',
            images='shapes/JPEGImages/val_*',
            pipeline=[
                dict(type='LoadImageFromFile'), _base_.psmt.unlabeled_views
            ])))
"""


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    out = tmp_path_factory.mktemp('drawn') / 'shapes'
    fake_shapes(out, 48, 4)
    return out


@pytest.fixture
def root(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / 'shapes')
    (tmp_path / 'tiny.py').write_text(TINY)
    return tmp_path


def alive(root, session):
    """Processes that ``train`` started, however far down."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            stat = (folder / 'stat').read_text().rpartition(')')[2].split()
            environ = (folder / 'environ').read_bytes()
        except OSError:  # it has just ended
            continue
        if stat[0] != 'Z' and (
            stat[3] == str(session)
            or f'PSMT_DATA={root}\0'.encode() in environ
        ):
            found.append(folder.name)
    return found


def train(root, deeds, *options, ranks=1, interrupt=False):
    """What a training that must fail prints, once all of it has ended."""
    (root / 'faulty.py').write_text(FAULTY.replace('@', repr(deeds)))
    start = dict(
        cwd=root,
        env={
            **os.environ,
            'PSMT_DATA': str(root),
            'OMP_NUM_THREADS': '1',
            'PORT': processes.free_port(),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': f'{REPO}/tests:{os.environ.get("PYTHONPATH", "")}',
        },
        start_new_session=True,
    )
    words = ['faulty.py', *map(str, options)]
    log = root / 'log'
    if ranks == 1:
        training = processes.Process(
            [REPO / 'tools/train.py', *words], **start
        )
    else:
        words[1:1] = [str(ranks)]
        with log.open('w') as file:
            training = subprocess.Popen(
                [REPO / 'tools/dist_train.sh', *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=obey_interrupts,
                **start,
            )
    said = training.read if ranks == 1 else log.read_text
    try:
        if interrupt:
            wait(
                lambda: '[   2/' in said() or training.poll() is not None, HANG
            )
            assert training.poll() is None, said()
            os.killpg(training.pid, signal.SIGINT)
        assert training.wait(HANG) != 0
        wait(lambda: not alive(root, training.pid), 15)
    finally:
        for pid in alive(root, training.pid):
            os.kill(int(pid), signal.SIGKILL)
    return said()


def obey_interrupts():
    """What a shell starts in the background inherits deafness."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait(done, seconds):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_loader_worker_that_ends_ends_the_training(root):
    out = train(root, {3: 'kill_worker'})
    assert re.search(r'DataLoader worker \(pid.* by signal: Killed', out)


def test_images_that_break_in_the_middle_are_named(root):
    out = train(root, {3: 'spoil_unlabeled', 21: 'spoil_labeled'})
    (log_file,) = root.glob('work_dirs/faulty/*/*.log')
    (warning,) = re.findall('WARNING - (.*no longer .*)', log_file.read_text())
    assert 'shapes/JPEGImages/val_00003.jpg: ' in warning
    assert ' [  20/1000]' in log_file.read_text()
    names = root / 'shapes/ImageSets/Segmentation/semi/1_8/labeled.txt'
    image = f'{root}/shapes/JPEGImages/{names.read_text().split()[-1]}.jpg'
    assert image in out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    'deeds, exit_code',
    [
        ({'val': 'fail'}, 'exitcode  : 1 '),
        ({3: 'kill'}, r'exitcode  : -9 .*SIGKILL'),
    ],
)
def test_a_rank_that_fails_ends_the_others(root, deeds, exit_code):
    out = train(
        root, deeds, '--cfg-options', 'train_cfg.val_interval=2', ranks=2
    )
    cause = out.split('Root Cause (first observed failure):')[1]
    assert re.search(r'rank +: 1 ', cause) and re.search(exit_code, cause)
    assert ('[rank1]: ArithmeticError: the injected fault' in out) == (
        'val' in deeds
    )


@pytest.mark.parametrize('ranks', [1, 2])
def test_an_interrupt_ends_everything(root, ranks):
    out = train(root, {}, ranks=ranks, interrupt=True)
    assert ('KeyboardInterrupt' if ranks == 1 else 'got signal: 2') in out


def test_a_work_dir_that_cannot_be_made_is_named(root):
    out = train(root, {}, '--work-dir', root / 'tiny.py/run')
    assert f"'{root}/tiny.py/run'" in out.strip().splitlines()[-1]
    assert 'Iter(train)' not in out


@pytest.fixture
def photos(tmp_path):
    """Twelve images of one gray value each."""
    for i in range(12):
        save(tmp_path / f'photos/{i:02}.png', 20 * i)
    return tmp_path / 'photos'


@pytest.fixture
def warned(monkeypatch):
    """Levels and texts of what is logged of broken photos."""
    lines = []
    monkeypatch.setattr(
        unlabeled_folder,
        'print_log',
        lambda text, logger, level=logging.INFO: (
            lines.append((level, text)) if level > logging.INFO else None
        ),
    )
    return lines


def folder(photos, *transforms, **options):
    return DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=str(photos),
            pipeline=[LOAD, *transforms],
            **options,
        )
    )


BREAK = {
    'garbage': lambda path: path.write_bytes(b'garbage'),
    'empty': lambda path: path.write_bytes(b''),
    'truncated': cut,
    'deleted': Path.unlink,
}


@pytest.mark.parametrize('how', BREAK)
def test_the_next_photo_stands_in_for_a_broken_one(photos, how, warned):
    dataset = folder(photos)
    for i in (3, 4, 11):
        BREAK[how](photos / f'{i:02}.png')
    for _ in range(2):
        seen = [int(dataset[i]['img'].max()) // 20 for i in range(12)]
        assert seen == [0, 1, 2, 5, 5, 5, 6, 7, 8, 9, 10, 0]
    assert len(warned) == 3
    for i, (level, text) in zip((3, 4, 11), warned):
        assert level == logging.WARNING and f'{photos}/{i:02}.png: ' in text


def test_ten_broken_photos_in_a_row_are_an_error(photos, warned):
    dataset = folder(photos)
    for i in range(2, 12):
        (photos / f'{i:02}.png').unlink()
    assert dataset[3]['img'].max() == 0
    with pytest.raises(ValueError, match='10 unlabeled .*last is .*/11.png'):
        dataset[2]


def test_a_broken_photo_to_be_refused_is_an_error(photos, warned):
    dataset = pairs(folder(photos), folder(photos, VIEWS, broken='refuse'))
    (photos / '03.png').write_bytes(b'')
    with pytest.raises(RuntimeError, match='/03.png of the unlabeled'):
        dataset[0, 3, (0,)]
    assert not warned


def test_other_ranks_warn_by_what_they_print(photos, warned, monkeypatch):
    dataset = folder(photos)
    monkeypatch.setattr(unlabeled_folder, 'get_rank', lambda: 1)
    (photos / '03.png').unlink()
    dataset[3], dataset[3]
    ((level, _),) = warned
    assert level == logging.ERROR  # mmengine prints no less there


@TRANSFORMS.register_module()
class Mistake:
    """A transform that raises, though the image is fine."""

    def __call__(self, results):
        raise ArithmeticError('a mistake')


def test_a_mistake_of_a_transform_is_no_broken_photo(photos, warned):
    dataset = pairs(folder(photos), folder(photos, dict(type='Mistake')))
    with pytest.raises(RuntimeError, match='/03.png of the .* a mistake'):
        dataset[0, 3, (0,)]
    assert not warned


def pairs(labeled, unlabeled):
    return DATASETS.build(
        dict(type='SemiSegDataset', labeled=labeled, unlabeled=unlabeled)
    )


@pytest.mark.parametrize('how', BREAK)
@pytest.mark.parametrize('name', ['b.png', 'b_mask.png'])
def test_a_broken_labeled_file_is_named(tmp_path, how, name):
    for i, stem in enumerate('ab'):
        save(tmp_path / f'{stem}.png', i)
        Image.fromarray(np.eye(12, 10, dtype=np.uint8), 'P').save(
            tmp_path / f'{stem}_mask.png'
        )
        save(tmp_path / f'photos/{stem}.png', i)
    (tmp_path / 'list.txt').write_text('a\nb\n')
    labeled = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        ann_file='list.txt',
        img_suffix='.png',
        seg_map_suffix='_mask.png',
        data_prefix=dict(img_path='.', seg_map_path='.'),
        pipeline=[LOAD, dict(type='LoadAnnotations'), PACK],
    )
    dataset = pairs(labeled, folder(tmp_path / 'photos', VIEWS))
    BREAK[how](tmp_path / name)
    dataset[0, 0, (0,)]
    with pytest.raises(RuntimeError, match=rf'/{name}.* labeled .*--resume'):
        dataset[1, 0, (0,)]
