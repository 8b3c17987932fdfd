"""Runs mmseg's own tools, on CPU ranks too."""
import runpy
import sys
from pathlib import Path

import mmseg
import torch
import torch.distributed as dist


def run_mmseg_tool(name: str) -> None:
    """Run a script of the ``tools`` folder that mmseg was installed with.

    mmengine sets up distributed ranks for accelerators only. Without one,
    the ranks of ``--launcher pytorch`` are joined with gloo here, and the
    model is wrapped without a device.

    Args:
        name (str): Such as 'train.py'. It reads ``sys.argv``.

    Raises:
        FileNotFoundError: If mmseg was installed without its tools.
    """
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / name
    if not tool.exists():
        raise FileNotFoundError(
            f'{tool} does not exist: install MMSegmentation from its wheel, '
            'which holds its tools')
    ranks = {'pytorch', '--launcher=pytorch'} & {*sys.argv}
    if ranks and not torch.cuda.is_available():
        dist.init_process_group('gloo')
        sys.argv += [
            '--cfg-options',
            'model_wrapper_cfg.type=MMDistributedDataParallel',
            'model_wrapper_cfg.device_ids=None',
            'model_wrapper_cfg.broadcast_buffers=False'
        ]
    runpy.run_path(str(tool), run_name='__main__')
