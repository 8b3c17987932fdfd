"""The tools as one command: ``psmt TOOL ARGUMENTS``."""

import os
import runpy
import sys
from pathlib import Path
from typing import Dict, List

TOOLS = Path(__file__).parent / '.mim/tools'


def find_tools() -> Dict[str, Path]:
    """Scripts of the tools folder by their names."""
    return {
        path.stem: path
        for path in sorted(TOOLS.rglob('*'))
        if path.suffix in ('.py', '.sh')
    }


def command(name: str) -> List[str]:
    """The words that run a tool from here.

    Its script in a checkout of the project, else ``psmt``.

    Args:
        name (str): One of :func:`find_tools`.
    """
    script = find_tools()[name].relative_to(TOOLS)
    for folder in Path('tools'), TOOLS.resolve():
        if '.mim' not in folder.parts and (folder / 'check_data.py').is_file():
            if Path.cwd() in folder.parents:
                folder = folder.relative_to(Path.cwd())
            path = (folder / script).as_posix()
            return ['python', path] if script.suffix == '.py' else [path]
    return ['psmt', name]


def main() -> None:
    """Run a tool, as its script would run with the arguments that follow.

    Raises:
        SystemExit: If there is none of that name.
    """
    tools = find_tools()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name not in tools:
        asked = name in ('-h', '--help')
        text = ('' if asked else f'psmt has no tool {name!r}. ') + (
            'Usage: psmt TOOL ARGUMENTS, with one of these tools, each of '
            f'which explains itself with --help: {", ".join(tools)}'
        )
        print(text, file=sys.stdout if asked else sys.stderr)
        raise SystemExit(0 if asked else 2)
    path, words = tools[name], sys.argv[2:]
    if path.suffix == '.sh':  # which starts this Python
        os.environ['PATH'] = os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get('PATH', '')]
        )
        os.execvp('bash', ['bash', str(path), *words])
    sys.argv = [str(path), *words]
    sys.path.insert(0, str(path.parent))  # as for a script
    runpy.run_path(str(path), run_name='__main__')


if __name__ == '__main__':
    main()
