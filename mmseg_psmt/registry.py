"""The scope ``mmseg_psmt``, in which all of mmseg is known.

mmengine gives it to what a config inherits from ``mmseg_psmt::...``, and then
imports this module.
"""

from mmengine.registry import Registry
from mmseg import registry

for stock in [x for x in vars(registry).values() if isinstance(x, Registry)]:
    Registry(
        stock.name, parent=stock, scope='mmseg_psmt', locations=['mmseg_psmt']
    )
