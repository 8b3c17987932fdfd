"""What the tools say before they begin."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
# Prints the help of a tool, and on another stream what that imported.
ASK = """
import os, runpy, sys
sys.argv = [sys.argv[1], '--help']
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    'tool', sorted(TOOLS.rglob('*.py')), ids=lambda path: path.stem
)
def test_help_comes_before_the_slow_imports(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', ASK, tool],
        cwd=tmp_path,
        env={
            key: value
            for key, value in os.environ.items()
            if key != 'PYTHONPATH'  # its stubs may import torch
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage: ')
    assert not {'torch', 'mmseg', 'mmseg_psmt'} & {*done.stderr.split()}


def options(script):
    """First names of all options that a script adds to its parser."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, 'attr', '') == 'add_argument'
    }


@pytest.mark.parametrize('name', ['train.py', 'test.py'])
def test_the_options_are_those_of_mmseg(name):
    theirs = options(Path(mmseg.__file__).parent / '.mim/tools' / name)
    assert options(TOOLS / name) == theirs
