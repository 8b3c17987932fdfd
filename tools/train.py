"""Train a config with mmseg's own tool, on CPU processes too."""

import argparse


def parse_args() -> argparse.Namespace:
    """What mmseg's tool will read again, and complain of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='file of the config')
    parser.add_argument(
        '--work-dir',
        help='folder of the log and the checkpoints; default: work_dir of '
        'the config, or work_dirs/ and the name of the config',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last whole checkpoint in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision; needs a GPU'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='settings in place of those of the config, such as '
        'train_cfg.max_iters=1000 model.tvat=None',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes; dist_train.sh and slurm_train.sh '
        'set it',
    )
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)
    return parser.parse_known_args()[0]


if __name__ == '__main__':
    parse_args()
    from mmseg_psmt.launch import run_mmseg_tool

    run_mmseg_tool('train.py')
