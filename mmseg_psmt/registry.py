"""The scope ``mmseg_psmt`` of mmengine's registries.

mmengine gives it to what a config takes from a base such as
``mmseg_psmt::_base_/psmt.py``, and imports this module to look it up. All
components are in the registries of mmseg, the parents of these.
"""

from mmengine.registry import Registry
from mmseg import registry as mmseg

REGISTRIES = [
    Registry(
        parent.name,
        parent=parent,
        scope='mmseg_psmt',
        locations=['mmseg_psmt'],
    )
    for parent in (getattr(mmseg, name) for name in mmseg.__all__)
]
