import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / 'stubs'))
import op_stubs  # noqa: E402

op_stubs.install()

from mmengine.logging import MMLogger  # noqa: E402


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs every initialised tensor."""
    MMLogger.get_instance('mmengine', log_level='ERROR')
