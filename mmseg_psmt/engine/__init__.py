from .hooks import *  # noqa: F401, F403
from .layer_decay import PSMTLayerDecayOptimizerConstructor  # noqa: F401
