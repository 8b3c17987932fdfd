"""The two distributions of the OpenMMLab packages, and where they differ."""

import re
import warnings
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator

import cv2
import numpy as np

if TYPE_CHECKING:
    from mmengine.runner import BaseLoop
    from torch import nn
    from torch.utils.hooks import RemovableHandle

TESTED = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
}
NEEDED = ('mmengine', 'mmcv', 'mmsegmentation')  # mmpretrain only for its nets
REMEDY = (
    "run 'pip install -r requirements.txt' (the maintained onedl "
    'distribution) or install one family by hand: onedl-mmengine, '
    'onedl-mmcv, onedl-mmsegmentation, or mmengine, mmcv, '
    'mmsegmentation'
)

# What the OpenMMLab packages say at each start, whoever reads it: regular
# expressions of how it begins.
NOISE = (
    'Could not import OneDL',
    'Fail to import ``MultiScaleDeformableAttention``',
    'The draw is False',
    '.*instance named of visualizer has been created',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'The prefix is not set in metric class',
    '``build_loss`` would be deprecated',
)


def is_noise(text: str) -> bool:
    """Whether a message is one of those that all starts have in common."""
    return any(re.match(noise, text) for noise in NOISE)


@contextmanager
def quietly() -> Iterator[None]:
    """Context for the import of the OpenMMLab packages, without ``NOISE``.

    Some of it comes later as a warning, which is left out for good. What else
    is printed comes after the import, or after its error.
    """
    for noise in NOISE:
        warnings.filterwarnings('ignore', noise)
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        lines = printed.getvalue().splitlines()
        for line in lines:
            if not is_noise(line):
                print(line)


def installed_family() -> Dict[str, str]:
    """Versions of the one installed family, by distribution.

    Warns if they are not the tested ones.

    Raises:
        ImportError: If both families, or neither whole one, are installed, or
            mmcv lacks the operators that the stock family imports.
    """
    found = {}
    for name in TESTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    prefixes = {
        'onedl-' if name.startswith('onedl-') else '' for name in found
    }
    if len(prefixes) > 1:
        raise ImportError(
            'mmseg_psmt found two distributions of OpenMMLab that overwrite '
            f'each other: {found}. Uninstall all of them and {REMEDY}'
        )
    prefix = prefixes.pop() if prefixes else ''
    if not {prefix + name for name in NEEDED} <= found.keys():
        raise ImportError(
            f'mmseg_psmt needs MMSegmentation; found only {found}: {REMEDY}'
        )
    if prefix == '' and find_spec('mmcv._ext') is None:
        raise ImportError(
            f'mmcv {found["mmcv"]} was installed without its compiled '
            'operators, which mmsegmentation imports. pip leaves them out '
            "where it does not see torch: run 'pip install --no-build-"
            'isolation --no-cache-dir --force-reinstall --no-deps '
            f"mmcv=={found['mmcv']}' beside torch and setuptools<81, or use "
            'the onedl distribution, which does without'
        )
    tested = {name: TESTED[name] for name in found}
    if found != tested:
        warnings.warn(f'mmseg_psmt was tested with {tested}, found {found}')
    return found


def register_configs() -> None:
    """Let ``_base_`` be 'mmseg_psmt::...', and 'mmseg::...' on both stacks.

    mmengine looks for the configs of ``mmseg`` in the distribution
    ``mmsegmentation``, whichever is installed.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    # A module, not the distribution: that of an editable install lies where
    # there are no configs, and mmengine 0.10.7 looks no further.
    MODULE2PACKAGE['mmseg_psmt'] = 'mmseg_psmt.registry'
    if 'onedl-mmsegmentation' in installed_family():
        MODULE2PACKAGE['mmseg'] = 'onedl-mmsegmentation'


def loads_data_alone() -> bool:
    """Whether torch can be told to read mmengine's checkpoints as data.

    It can since version 2.4. Earlier ones run the code in a checkpoint.
    """
    import torch

    return hasattr(torch.serialization, 'add_safe_globals')


def allow_checkpoint_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read mmengine's checkpoints.

    The history of the log is in them, too. Its arrays name functions of
    numpy, which numpy 1 and 2 keep in different modules.
    """
    if not loads_data_alone():
        return
    import torch
    from mmengine.logging import HistoryBuffer

    core = np.core if np.__version__ < '2' else np._core
    functions = core.multiarray.scalar, core.multiarray._reconstruct
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            getattr,
            np.ndarray,
            np.dtype,
            *functions,
            *(
                _known_as(f'numpy.{name}.multiarray', function)
                for name in ('core', '_core')
                for function in functions
            ),
            *(
                type(np.dtype(name))
                for name in ('float64', 'float32', 'int64', 'uint8')
            ),
        ]
    )


def _known_as(module: str, function: Callable) -> Callable:
    """A function under the name that it has in another module."""

    def known(*args: Any) -> Any:
        return function(*args)

    known.__module__ = module
    known.__name__ = known.__qualname__ = function.__name__
    return known


def before_loading(
    module: 'nn.Module', hook: Callable[..., None]
) -> 'RemovableHandle':
    """``register_load_state_dict_pre_hook``, which torch has since 2.5."""
    if hasattr(module, 'register_load_state_dict_pre_hook'):
        return module.register_load_state_dict_pre_hook(hook)
    return module._register_load_state_dict_pre_hook(hook, with_module=True)


def skip_trained_data(loop: 'BaseLoop') -> None:
    """Let a resumed training begin without loading what it had already.

    Later versions of mmengine ask the sampler. 0.10.7 loads all of it, and
    starts the workers before the hooks: they are started again.

    Args:
        loop (BaseLoop): Of a training, before its first iteration.
    """
    loader = loop.dataloader
    if hasattr(loader.sampler, 'skip') and not hasattr(
        loop.dataloader_iterator, 'skip_iter'
    ):
        loader.sampler.skip(loop.iter * loader.batch_size)
        loop.dataloader_iterator = loader._iterator = None
        loop.dataloader_iterator = chain(repeat(None, loop.iter), iter(loader))


def adjust_hue(img: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hue of a BGR image (uint8, H x W x 3).

    ``mmcv.adjust_hue``, but that of mmcv 2.1 fails with numpy 2 for negative
    turns.

    Args:
        turn (float): Share of the full circle, at most half of it.
    """
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(int(turn * 255) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
