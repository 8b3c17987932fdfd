"""draw_predictions.py beside mmseg's own test tool."""

import shutil
import subprocess
import sys
from pathlib import Path

import draw_predictions
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

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
    call(
        'dataset_converters/make_shapes',
        '--out',
        'shapes',
        '--num-train',
        40,
        '--num-val',
        5,
    )
    (tmp_path / 'plain.py').write_text(CONFIG)
    return tmp_path


def call(tool, *words):
    done = subprocess.run(
        [sys.executable, REPO / f'tools/{tool}.py', *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


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
    sheet = np.array(Image.open('new/sheet.png'))
    assert sheet.shape == (20 + 3 * 128, 3 * 128, 3)
    sheet = sheet[20::2, ::2]  # small images are enlarged
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
        top = 64 * row
        image, truth, net = np.split(sheet[top : top + 64], 3, axis=1)
        stored = Image.open(f'shapes/JPEGImages/{name}.jpg')
        assert (image == np.array(stored)).all()
        mask = np.array(Image.open(f'shapes/SegmentationClass/{name}.png'))
        assert (truth == palette[mask]).all()
        mask = np.array(Image.open(f'masks/{name}.png'))
        assert (net == palette[mask]).all()
    labels = np.array(Image.open('labels.png'))
    assert labels.shape == (20 + 5 * 128, 256, 3)  # all there are
    net, half = (
        labels[20::2, 2 * at : 2 * at + 128 : 2].reshape(5, 64, 64, 3)
        for at in (0, 64)
    )
    assert (net[::2].reshape(-1, 64, 3) == sheet[:, 128:]).all()
    for i in range(5):  # by the pipeline of its own
        mask = np.array(Image.open(f'half_masks/val_{i:05}.png'))
        assert (half[i] == palette[mask]).all()
    assert (half != net).any()
