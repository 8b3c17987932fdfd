"""Runs scripts in processes of their own that need not import mmseg anew.

What a new interpreter imports costs more than a tiny training. Here a server
imports the packages of others, once for each process of pytest, and forks for
each script. The script is ``__main__`` with its own folder, environment,
output and session, and imports mmseg_psmt itself.
"""

import gc
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


class Process:
    """A script that runs, much like a ``subprocess.Popen``."""

    def __init__(self, words, cwd='.', env=None, start_new_session=False):
        self.words = [*map(str, words)]
        self.output = tempfile.TemporaryFile('w+')
        self.returncode = None
        self.line, line = socket.socketpair(type=socket.SOCK_SEQPACKET)
        request = dict(
            words=self.words,
            cwd=os.path.abspath(cwd),
            env=dict(env or os.environ),
            new_session=start_new_session,
        )
        with line:
            socket.send_fds(
                server(),
                [json.dumps(request).encode()],
                [line.fileno(), self.output.fileno()],
            )
        self.pid = int(self.line.recv(99))

    def read(self):
        """All output so far."""
        return os.pread(self.output.fileno(), 2**26, 0).decode()

    def wait(self, timeout=600):
        if self.returncode is None:
            self.line.settimeout(timeout)
            self.returncode = int(self.line.recv(99))
        return self.returncode

    def poll(self):
        try:
            return self.wait(0)
        except BlockingIOError:
            return None

    def end(self):
        """Exit code and output, once it has ended."""
        try:
            self.wait()
        finally:
            if self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(
            self.words, self.returncode, self.read()
        )


def run(words, **options):
    """What a script ends with."""
    return Process(words, **options).end()


def free_port():
    """A port for ranks to meet at, as an environment variable has it."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def run_ranks(num, words, env=None, **options):
    """What each rank of a distributed script ends with."""
    port = free_port()
    ranks = [
        Process(
            [*words, '--launcher', 'pytorch'],
            env={
                **(env or os.environ),
                'RANK': str(rank),
                'LOCAL_RANK': str(rank),
                'WORLD_SIZE': str(num),
                'MASTER_ADDR': '127.0.0.1',
                'MASTER_PORT': port,
            },
            **options,
        )
        for rank in range(num)
    ]
    return [rank.end() for rank in ranks]


@cache
def server():
    """The end of a line to a server, which ends when this process does."""
    own, its = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with its:
        subprocess.Popen(
            [sys.executable, __file__],
            stdin=its,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
    return own


def serve():
    """Fork for each request and return in the fork, as the script."""
    import matplotlib.pyplot  # noqa: F401
    import mmseg.apis  # noqa: F401
    import numpy as np
    import torch._dynamo  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import unformatted  # noqa: F401

    assert len(os.listdir('/proc/self/task')) == 1  # a fork has no others
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        request, fds, *_ = socket.recv_fds(requests, 2**20, 2)
        if not request:
            sys.exit()
        if not os.fork():
            break
        for fd in fds:
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line, output = socket.socket(fileno=fds[0]), fds[1]
    pid = os.fork()
    if pid:
        os.close(output)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        line.send(str(code).encode())
        os._exit(0)
    request = json.loads(request)
    if request['new_session']:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request['env'])
    os.chdir(request['cwd'])
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), requests.detach())
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    random.seed()
    np.random.seed()
    sys.argv = request['words']
    paths = os.environ.get('PYTHONPATH', '').split(':')
    sys.path[:1] = [str(Path(sys.argv[0]).parent), *filter(None, paths)]
    line.send(str(os.getpid()).encode())
    line.close()


if __name__ == '__main__':
    serve()
    runpy.run_path(sys.argv[0], run_name='__main__')
