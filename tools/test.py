"""Test a checkpoint with mmseg's own tool, on CPU processes too.

Without --work-dir the results go to the folder "test" next to the checkpoint,
where tools/analysis_tools/results.py looks for them.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import List


def parse_args() -> argparse.Namespace:
    """What mmseg's tool will read again, and complain of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='file of the config')
    parser.add_argument('checkpoint', help='file or URL')
    parser.add_argument('--work-dir', help='folder of the results')
    parser.add_argument('--out', help='folder for the predicted masks')
    parser.add_argument(
        '--show', action='store_true', help='show the predictions'
    )
    parser.add_argument('--show-dir', help='folder for painted predictions')
    parser.add_argument('--wait-time', help='seconds that --show waits')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='settings in place of those of the config, such as '
        'model.predict_with=student',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes; dist_test.sh sets it',
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation'
    )
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)
    return parser.parse_known_args()[0]


def results_near(args: argparse.Namespace) -> List[str]:
    """The ``--work-dir`` of a test without one: next to its checkpoint.

    mmseg would take that of the config, and mix the results with the logs of
    the training.
    """
    checkpoint = Path(args.checkpoint)  # a URL is not a file
    if (
        args.work_dir
        or not checkpoint.is_file()
        or not os.access(checkpoint.parent, os.W_OK)
    ):
        return []
    return ['--work-dir', str(checkpoint.parent / 'test')]


if __name__ == '__main__':
    sys.argv += results_near(parse_args())
    from mmseg_psmt.launch import run_mmseg_tool

    run_mmseg_tool('test.py')
