"""tools/draw_predictions.py beside mmseg's own test tool."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPO = Path(__file__).resolve().parents[1]
CONFIG = f'''
_base_ = '{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8_supervised.py'
model = dict(
    backbone=dict(base_channels=8),
    decode_head=dict(
        in_channels=64, c1_in_channels=8, channels=8, c1_channels=4))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=9)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
'''


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv('PSMT_DATA', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    call('make_shapes', '--out', 'shapes', '--num-train', 40, '--num-val', 5)
    (tmp_path / 'plain.py').write_text(CONFIG)
    return tmp_path


def call(tool, *words):
    done = subprocess.run(
        [sys.executable, REPO / f'tools/{tool}.py', *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_columns_are_image_truth_and_what_the_test_tool_predicts(root):
    call('train', 'plain.py', '--work-dir', 'run')
    call('test', 'plain.py', 'run/iter_2.pth', '--out', 'masks')
    call('draw_predictions', 'net=run', '--out', 'new/sheet.png',
         '--images', 3)
    call('draw_predictions', 'net=run', '--out', 'labels.png', '--images', 9,
         '--labels-only')
    sheet = np.array(Image.open('new/sheet.png'))
    assert sheet.shape == (24 + 3 * 64, 3 * 64, 3)
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0],
                        [0, 0, 128], [128, 0, 128]])
    for row, name in enumerate(('val_00000', 'val_00002', 'val_00004')):
        top = 24 + 64 * row
        image, truth, net = np.split(sheet[top:top + 64], 3, axis=1)
        stored = Image.open(f'shapes/JPEGImages/{name}.jpg')
        assert (image == np.array(stored)).all()
        mask = np.array(Image.open(f'shapes/SegmentationClass/{name}.png'))
        assert (truth == palette[mask]).all()
        mask = np.array(Image.open(f'masks/{name}.png'))
        assert (net == palette[mask]).all()
    labels = np.array(Image.open('labels.png'))
    assert labels.shape == (24 + 5 * 64, 64, 3)  # all there are
    every_second = labels[24:].reshape(5, 64, 64, 3)[::2]
    assert (every_second.reshape(-1, 64, 3) == sheet[24:, 128:]).all()
