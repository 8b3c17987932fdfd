import gc
import os
from importlib.util import find_spec

os.environ.setdefault('OMP_NUM_THREADS', '1')  # a fork hangs behind threads

import op_stubs
import pytest
from mmengine.logging import MMLogger

op_stubs.install()
SLOW = (
    'test_docs',
    'test_faults',
    'test_train_and_test',
    'test_results',
    'test_resume',
)


def pytest_collection_modifyitems(items):
    """Start with the slow files, so that no process waits for one."""
    items.sort(key=lambda item: item.path.stem not in SLOW)


def pytest_runtest_setup(item):
    asked_for = item.config.option.markexpr == 'mmpretrain'
    if (
        item.get_closest_marker('mmpretrain')
        and not asked_for
        and not find_spec('torchvision')
    ):
        pytest.skip(
            'mmpretrain imports torchvision, which is not installed: '
            "run 'make test-mmpretrain'"
        )


def pytest_collection_finish():
    """Keep the garbage collector from all that was imported.

    mmengine calls it for each data set that it builds.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs every initialized tensor."""
    MMLogger.get_instance('mmengine', log_level='ERROR')


@pytest.fixture(autouse=True)
def free(monkeypatch, tmp_path):
    """What the tools set in this process ends with the test."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
