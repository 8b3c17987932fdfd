"""docs/tutorial.ipynb, cell by cell in a few iterations.

python tests/test_notebook.py NOTEBOOK [NAME=VALUE ...] runs the code cells in
order, without Jupyter, and replaces the constants that a cell assigns. A line
``!psmt TOOL ARGUMENTS | FILTER`` runs the tool, without the filter, in a fork
of this process, which has imported what is slow.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Dict

import pytest
from PIL import Image

import mmseg_psmt
from mmseg_psmt import cli

REPO = Path(__file__).resolve().parents[1]
NOTEBOOK = REPO / 'docs/tutorial.ipynb'


def command(line: str, names: dict) -> None:
    """Run ``psmt TOOL ARGUMENTS``, with ``{NAME}`` for a variable."""
    words = [
        re.sub(r'\{(\w+)\}', lambda found: str(names[found[1]]), word)
        for word in shlex.split(line)
    ]
    ends = [words.index(x) for x in ('|', '2>&1') if x in words]
    words = words[: min(ends, default=None)]
    assert words[0] == 'psmt', line
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, line
        return
    code = 1
    try:
        sys.argv = words
        cli.main()
        code = 0
    except SystemExit as end:
        if not end.code:
            code = 0
        elif isinstance(end.code, str):
            print(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_cells(path: str, constants: Dict[str, str]) -> None:
    """Run the cells of a notebook in one namespace."""
    with open(path, encoding='utf-8') as file:
        cells = json.load(file)['cells']
    names = vars(ModuleType('__main__'))
    for cell in cells:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code':
            continue
        if source.startswith('%%writefile '):
            first, _, text = source.partition('\n')
            with open(first.split()[1], 'w', encoding='utf-8') as file:
                file.write(text)
        elif source.startswith('!'):
            command(source[1:].replace('\\\n', ' '), names)
        else:
            exec(source.removeprefix('%%capture\n'), names)
        for name in constants.keys() & names.keys():
            names[name] = ast.literal_eval(constants[name])


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
        [sys.executable, __file__, NOTEBOOK, 'ITERS=4', 'TRAIN=40', 'VAL=3'],
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


if __name__ == '__main__':
    run_cells(sys.argv[1], dict(word.split('=') for word in sys.argv[2:]))
