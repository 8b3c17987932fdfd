"""Runs mmseg's own tools, on CPU ranks too."""

import gc
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Iterator

import mmseg
import torch
import torch.distributed as dist
from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmseg.models.segmentors import BaseSegmentor

from .models.encoders import must_fit
from .models.plain_weights import require_weights
from .options import did_you_mean, missing_module
from .stack import is_noise, loads_data_alone

ALLOW_CODE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def forbid_code_in_checkpoints() -> None:
    """Have every ``torch.load`` of this process read data alone.

    mmengine's loaders would else, on the onedl distribution, run the code in
    a checkpoint that is more than data. The environment variable
    ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`` of torch allows it. Warns where
    torch is too old to refuse it.
    """
    if not loads_data_alone():
        warnings.warn(
            f'torch {torch.__version__} runs the code that a checkpoint may '
            'hold. Load none that you do not trust, or take torch 2.4 or later'
        )
        return
    if os.environ.get(ALLOW_CODE, '').lower() not in ('1', 'y', 'yes', 'true'):
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'


@contextmanager
def whole_checkpoints(all_of_them: bool) -> Iterator[None]:
    """Context in which a checkpoint that leaves weights random is an error.

    See :func:`require_weights`.

    Args:
        all_of_them (bool): Whether all weights must be in a checkpoint, as
            for a test and always for a resume, or some of them.
    """
    stock = Runner.load_checkpoint

    def load_checkpoint(
        runner: Runner, filename: str, *args: Any, **kwargs: Any
    ) -> dict:
        checkpoint = stock(runner, filename, *args, **kwargs)
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        require_weights(
            model,
            checkpoint.get('state_dict', checkpoint),
            filename,
            all_of_them or runner._resume,
        )
        return checkpoint

    Runner.load_checkpoint = load_checkpoint
    try:
        yield
    finally:
        Runner.load_checkpoint = stock


@contextmanager
def fitting_backbones() -> Iterator[None]:
    """Context in which plain segmentors are as strict as PSMT.

    Pretrained weights that do not fit a backbone are an error, see
    :func:`must_fit`, where mmengine warns.
    """
    stock = BaseSegmentor.init_weights

    def init_weights(model: BaseSegmentor) -> None:
        backbone = getattr(model, 'backbone', None)
        with nullcontext() if backbone is None else must_fit(backbone):
            stock(model)

    BaseSegmentor.init_weights = init_weights
    try:
        yield
    finally:
        BaseSegmentor.init_weights = stock


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Context in which the log of a runner leaves out ``stack.NOISE``."""
    stock = Runner.build_logger

    def build_logger(runner: Runner, *args: Any, **kwargs: Any) -> MMLogger:
        logger = stock(runner, *args, **kwargs)
        logger.addFilter(lambda record: not is_noise(record.getMessage()))
        return logger

    Runner.build_logger = build_logger
    try:
        yield
    finally:
        Runner.build_logger = stock


def run_mmseg_tool(name: str) -> None:
    """Run a script of the ``tools`` folder that mmseg was installed with.

    mmengine sets up distributed ranks for accelerators only. Without one,
    the ranks of ``--launcher pytorch`` are joined with gloo here, and the
    model is wrapped without a device. A training from a git checkout notes
    its commit in the config. Of a distributed test the first rank alone
    writes the results: mmengine has each rank write the same file at the same
    time. No code in a checkpoint is run, see
    :func:`forbid_code_in_checkpoints`, none that leaves weights random is
    tested or resumed, and none that does not fit a backbone begins a training.

    Args:
        name (str): Such as 'train.py'. It reads ``sys.argv``.

    Raises:
        FileNotFoundError: If mmseg was installed without its tools.
        SystemExit: If a checkpoint is more than data, a config or a module
            does not exist, or an option or a type does not exist that
            resembles one that does.
    """
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / name
    if not tool.exists():
        raise FileNotFoundError(
            f'{tool} does not exist: install MMSegmentation from its wheel, '
            'which holds its tools'
        )
    ranks = {'pytorch', '--launcher=pytorch'} & {*sys.argv}
    if ranks and not torch.cuda.is_available():
        dist.init_process_group('gloo')
        sys.argv += [
            '--cfg-options',
            'model_wrapper_cfg.type=MMDistributedDataParallel',
            'model_wrapper_cfg.device_ids=None',
            'model_wrapper_cfg.broadcast_buffers=False',
        ]
    if name == 'train.py' and commit():
        sys.argv += ['--cfg-options', f'commit={commit()}']
    LoggerHook.after_test_epoch = master_only(LoggerHook.after_test_epoch)
    forbid_code_in_checkpoints()
    try:
        with (
            quiet_logs(),
            whole_checkpoints(name == 'test.py'),
            fitting_backbones(),
        ):
            runpy.run_path(str(tool), run_name='__main__')
    except UnpicklingError as error:
        why = str(error).rpartition('WeightsUnpickler error: ')[2]
        raise SystemExit(
            'The checkpoint that is named last in the log is damaged or holds '
            f'more than data ({why.partition(". ")[0]}): to load it could run '
            'whatever its author put in. If you trust the author, set the '
            f'environment variable {ALLOW_CODE}=1'
        ) from error
    except FileNotFoundError as error:
        if not str(error.filename).endswith('.py'):
            raise
        raise SystemExit(
            f'{error.filename} does not exist: name a config. '
            f'{did_you_mean(error)}'
        ) from error
    except ImportError as error:
        if not missing_module(error):
            raise
        raise SystemExit(missing_module(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        hint = did_you_mean(error)
        if hint:
            raise SystemExit(f'{error.args[0]}. {hint}') from error
        raise
    if ranks and dist.is_initialized():
        dist.destroy_process_group()
        # The cycles of the runner still refer to the group, whose threads
        # abort the exit of Python at times.
        gc.collect()


def commit() -> str:
    """The commit of this git checkout; empty if it is none.

    With a g, or 12e4567 would be read as a number.
    """
    if not _git('ls-files', Path(__file__).name):
        return ''
    return 'g' + _git('describe', '--always', '--dirty', '--exclude=*')


def _git(*words: str) -> str:
    """Output of git in this folder; empty if it is no checkout."""
    if not shutil.which('git'):
        return ''
    return subprocess.run(
        ['git', *words],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    ).stdout.strip()
