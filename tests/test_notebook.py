"""docs/tutorial.ipynb, cell by cell in a few iterations."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mmseg_psmt

REPO = Path(__file__).resolve().parents[1]
NOTEBOOK = REPO / 'docs/tutorial.ipynb'


@pytest.fixture(scope='module')
def cells():
    return json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']


def test_the_notebook_has_what_it_printed(cells):
    assert NOTEBOOK.stat().st_size <= 500_000
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    counts = [cell['execution_count'] for cell in code]
    assert counts == [*range(1, len(code) + 1)]  # all of them, in order
    outputs = [output for cell in code for output in cell['outputs']]
    assert not [x for x in outputs if x['output_type'] == 'error']
    pictures = [x for x in outputs if 'image/png' in x.get('data', {})]
    assert len(pictures) >= 5
    text = ''.join(''.join(x.get('text', '')) for x in outputs)
    for word in ('Traceback', 'rror:', str(Path.home()), '/tmp/'):
        assert word not in text


def test_the_notebook_names_this_version():
    (wheel,) = re.findall(r'mmseg_psmt-([\d.]+)-py3', NOTEBOOK.read_text())
    assert wheel == mmseg_psmt.__version__


def test_the_notebook_runs(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            REPO / 'tests/notebook.py',
            NOTEBOOK,
            'ITERS=4',
            'TRAIN=40',
            'VAL=3',
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'fit' in done.stdout.splitlines()
    assert '| semi | val | 4 |' in done.stdout
    for name in ('iter_4.pth', 'report.html', 'check_data.png'):
        assert (tmp_path / 'work_dirs/semi' / name).is_file()
    for name in ('curves', 'predictions'):
        Image.open(tmp_path / f'work_dirs/{name}.png').verify()
    assert (tmp_path / 'mine/plain.pth').is_file()
