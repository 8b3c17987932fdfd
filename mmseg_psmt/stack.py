"""Which distribution of the OpenMMLab packages is installed."""
from importlib.metadata import PackageNotFoundError, version
from typing import Dict

PACKAGES = ('mmengine', 'mmcv', 'mmsegmentation')
REMEDY = ("run 'pip install -r requirements.txt' (the maintained onedl "
          'distribution) or install one family by hand: onedl-mmengine, '
          'onedl-mmcv, onedl-mmsegmentation, or mmengine, mmcv, '
          'mmsegmentation')


def installed_family() -> Dict[str, str]:
    """Versions of the one installed family, by distribution.

    Raises:
        ImportError: If both families, or neither whole one, are installed.
    """
    found = {}
    for prefix in ('onedl-', ''):
        for package in PACKAGES:
            try:
                found[prefix + package] = version(prefix + package)
            except PackageNotFoundError:
                pass
    families = {name.startswith('onedl-') for name in found}
    if len(families) > 1:
        raise ImportError(
            'mmseg_psmt found two distributions of OpenMMLab that overwrite '
            f'each other: {found}. Uninstall all of them and {REMEDY}')
    missing = len(PACKAGES) - len(found)
    if missing:
        raise ImportError(
            f'mmseg_psmt needs MMSegmentation; found only {found}: {REMEDY}')
    return found


def allow_checkpoint_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read mmengine's checkpoints.

    They hold the history of the log beside the weights.
    """
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer
    multiarray = np._core.multiarray
    torch.serialization.add_safe_globals([
        HistoryBuffer, getattr, np.ndarray, np.dtype, multiarray.scalar,
        multiarray._reconstruct,
        *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64'))
    ])
