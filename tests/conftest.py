import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

sys.path.insert(0, str(Path(__file__).parent / 'stubs'))
import op_stubs  # noqa: E402

op_stubs.install()


def pytest_configure(config):
    config.addinivalue_line('markers',
                            'mmpretrain: builds models of mmpretrain')


def pytest_runtest_setup(item):
    asked_for = item.config.option.markexpr == 'mmpretrain'
    if (item.get_closest_marker('mmpretrain') and not asked_for
            and not find_spec('torchvision')):
        pytest.skip('mmpretrain imports torchvision, which is not installed: '
                    "run 'make test-mmpretrain'")


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs every initialised tensor."""
    MMLogger.get_instance('mmengine', log_level='ERROR')


@pytest.fixture(autouse=True)
def free(monkeypatch, tmp_path):
    """What the tools set in this process ends with the test."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
