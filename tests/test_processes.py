"""A script that is forked is like one in a new interpreter."""

import os
import subprocess
import sys

import processes
import pytest

SCRIPT = """
import atexit, os, sys
print(__name__, __file__, sys.argv, sys.path[0], os.getcwd(), flush=True)
print(os.environ['WORD'], os.getsid(0) == os.getpid(), file=sys.stderr)
print('mmseg_psmt' in sys.modules, sys.stdin.read(), flush=True)
atexit.register(print, 'the end')
exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    'deed, code',
    [
        ('pass', 0),
        ('sys.exit(3)', 3),
        ('sys.exit("no")', 1),
        ('os.kill(os.getpid(), 9)', -9),
    ],
)
def test_it_ends_alike(deed, code, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    options = dict(
        cwd=tmp_path, env={**os.environ, 'WORD': deed}, start_new_session=True
    )
    forked = processes.run([script, deed], **options)
    new = subprocess.run(
        [sys.executable, script, deed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert forked.returncode == new.returncode == code
    assert forked.stdout == new.stdout
    assert f'{deed} True' in new.stdout
    assert ('the end' in new.stdout) == (code != -9)


def test_output_and_end_can_be_watched(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'print("begun", flush=True)\nimport time\ntime.sleep(99)'
    )
    process = processes.Process([script])
    while not process.read():
        assert process.poll() is None
    os.kill(process.pid, 15)
    assert process.wait() == -15
    assert process.poll() == -15
    assert process.read() == 'begun\n'


def test_ranks_know_each_other(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import torch.distributed as dist\n'
        'dist.init_process_group("gloo")\n'
        'print(dist.get_rank(), dist.get_world_size())\n'
    )
    ranks = processes.run_ranks(2, [script])
    assert [rank.stdout for rank in ranks] == ['0 2\n', '1 2\n']
