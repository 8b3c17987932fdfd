import pytest
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs every initialised tensor."""
    MMLogger.get_instance('mmengine', log_level='ERROR')
