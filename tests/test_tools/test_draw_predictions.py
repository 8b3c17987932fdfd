"""draw_predictions.py beside mmseg's own test tool."""

import json
import shutil
import sys
from pathlib import Path

import draw_predictions
import numpy as np
import processes
import pytest
from fake_data import fake_shapes
from mmengine.config import Config
from PIL import Image

from mmseg_psmt.visualization import GAP

REPO = Path(__file__).resolve().parents[2]
CONFIG = f"""
_base_ = '{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8_supervised.py'
model = dict(
    backbone=dict(base_channels=8),
    decode_head=dict(
        in_channels=64, c1_in_channels=8, channels=8, c1_channels=4))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=9)
optim_wrapper = dict(optimizer=dict(lr=0.))  # else all is background
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv('PSMT_DATA', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fake_shapes('shapes', 40, 5)
    (tmp_path / 'plain.py').write_text(CONFIG)
    return tmp_path


def call(tool, *words):
    done = processes.run([REPO / f'tools/{tool}.py', *words])
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def cells(drawn, columns, heads, rows):
    """Pictures of 64 x 64 pixels of a sheet, by column and row."""
    line, zoom = 21, 200 // 64
    side = 64 * zoom
    assert drawn.shape[1] == columns * (side + GAP) - GAP
    return [
        [
            drawn[top : top + side : zoom, left : left + side : zoom]
            for top in range(
                (heads + 1) * line,
                heads * line + rows * (side + line),
                side + line,
            )
        ]
        for left in range(0, drawn.shape[1], side + GAP)
    ]


def draw(monkeypatch, *words):
    monkeypatch.setattr(sys, 'argv', ['draw_predictions.py', *words])
    draw_predictions.main()


def test_columns_are_image_truth_and_what_the_test_tool_predicts(
    root, monkeypatch
):
    call('train', 'plain.py', '--work-dir', 'run')
    call('test', 'plain.py', 'run/iter_2.pth', '--out', 'masks')
    draw(monkeypatch, 'net=run', '--out', 'new/sheet.png', '--images', '3')
    shutil.copytree('run', 'half')
    (dumped,) = Path('half').glob('*/vis_data/config.py')
    cfg = Config.fromfile(dumped)
    cfg.test_dataloader.dataset.pipeline.insert(
        1, dict(type='Resize', scale_factor=0.5)
    )
    cfg.dump(dumped)
    call(
        'test',
        dumped,
        'run/iter_2.pth',
        '--out',
        'half_masks',
        '--work-dir',
        'half/test',
    )
    draw(
        monkeypatch,
        'net=run',
        'half=half',
        '--out',
        'labels.png',
        '--images',
        '9',
        '--labels-only',
    )
    drawn = np.array(Image.open('new/sheet.png'))
    image, truth, net = cells(drawn, 3, heads=3, rows=3)
    palette = np.array(
        [
            [0, 0, 0],
            [128, 0, 0],
            [0, 128, 0],
            [128, 128, 0],
            [0, 0, 128],
            [128, 0, 128],
        ]
    )
    for row, name in enumerate(('val_00000', 'val_00002', 'val_00004')):
        stored = Image.open(f'shapes/JPEGImages/{name}.jpg')
        assert (image[row] == np.array(stored)).all()
        mask = np.array(Image.open(f'shapes/SegmentationClass/{name}.png'))
        assert (truth[row] == palette[mask]).all()
        mask = np.array(Image.open(f'masks/{name}.png'))
        assert (net[row] == palette[mask]).all()
    labels = np.array(Image.open('labels.png'))
    one, half = cells(labels, 2, heads=3, rows=5)  # all there are
    assert np.array_equal(one[::2], net)
    for i in range(5):  # by the pipeline of its own
        mask = np.array(Image.open(f'half_masks/val_{i:05}.png'))
        assert (half[i] == palette[mask]).all()
    assert not np.array_equal(half, one)
    (test,) = Path('run/test').glob('*/*.json')
    miou = json.loads(test.read_text())['mIoU']
    assert draw_predictions.heading('a', Path('run')) == (
        f'a\niteration 2\nmIoU {miou:.2f}'
    )
    shutil.rmtree('run/test')
    assert draw_predictions.heading('a', Path('run')) == (
        f'a\niteration 2\nvalidation mIoU {miou:.2f}'
    )
    (log,) = Path('run').glob('2*/vis_data/scalars.json')
    log.write_text('')
    assert draw_predictions.heading('a', Path('run')) == 'a\niteration 2'
