"""Run the code cells of a notebook in order, without Jupyter.

python tests/notebook.py NOTEBOOK [NAME=VALUE ...] replaces the constants that
a cell assigns. A line ``!psmt TOOL ARGUMENTS | FILTER`` runs the tool, without
the filter, in a fork of this process, which has imported what is slow.
"""

import ast
import json
import os
import re
import shlex
import sys
from types import ModuleType
from typing import Dict

from mmseg_psmt import cli


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


def run(path: str, constants: Dict[str, str]) -> None:
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


if __name__ == '__main__':
    run(sys.argv[1], dict(word.split('=') for word in sys.argv[2:]))
