"""A training that was cut off goes on as if nothing had happened."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
from fake_data import fake_shapes
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.runner.loops import IterBasedTrainLoop
from torch.utils.data import DataLoader

from mmseg_psmt.datasets import PairSampler, SemiSegDataset
from mmseg_psmt.engine import PreemptionHook, ReliableCheckpointHook
from mmseg_psmt.stack import allow_checkpoint_globals, skip_trained_data

REPO = Path(__file__).resolve().parents[2]
TINY = f"""
_base_ = '{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
custom_imports = dict(imports=['mmseg_psmt', 'faults', 'unformatted'])
custom_hooks = [*_base_.custom_hooks, dict(type='FaultHook', rank=-1, deeds=@)]
crop_size = (48, 48)
loading = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 64), ratio_range=(0.8, 1.5)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5)]
model = dict(
    data_preprocessor=dict(size=crop_size),
    segmentor=dict(
        backbone=dict(base_channels=8),
        decode_head=dict(
            in_channels=64, c1_in_channels=8, channels=8, c1_channels=4)),
    consistency=dict(type='ConfCELoss', threshold=0.2),
    teachers=dict(init='independent', alternate_every=2),
    warmup_iters=3,
    ramp_iters=4)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
        labeled=dict(pipeline=[*loading, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*loading, _base_.psmt.unlabeled_views])))
val_dataloader = dict(num_workers=1, persistent_workers=False)
train_cfg = dict(max_iters=8, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
WORKERS = 'train_dataloader.num_workers=4'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('root')
    fake_shapes(root / 'shapes', 48, 6)
    return root


def command(root, work_dir, deeds, *options):
    """A training in a session of its own, as options of a process."""
    config = root / f'{work_dir}.py'
    config.write_text(TINY.replace('@', repr(deeds)))
    words = ['--work-dir', root / work_dir]
    words += ['--cfg-options', 'randomness.seed=5', *options]
    return dict(
        words=[REPO / 'tools/train.py', config, *words],
        env={
            **os.environ,
            'PSMT_DATA': str(root),
            'OMP_NUM_THREADS': '1',
            'PORT': processes.free_port(),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': ':'.join(
                [f'{REPO}/tests', os.environ.get('PYTHONPATH', '')]
            ),
        },
        start_new_session=True,
    )


def train(*args, code=0):
    """What a training prints that must end with an exit code."""
    done = processes.run(**command(*args))
    assert done.returncode == code, done.stdout[-3000:]
    return done.stdout


def saved(root, work_dir):
    allow_checkpoint_globals()  # a load by mmengine takes some back
    return torch.load(root / f'{work_dir}/iter_8.pth', weights_only=True)


def logged(root, work_dir):
    """Logged numbers of each step; of one that was repeated, the last."""
    entries = {}
    for file in sorted((root / work_dir).glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            kind = 'loss' if 'loss' in entry else 'mIoU'
            entries[kind, entry['step']] = {
                key: value for key, value in entry.items() if 'time' not in key
            }
    return entries


def flat(item, name=''):
    """Every leaf of a checkpoint with its path."""
    if isinstance(item, HistoryBuffer):
        item = dict(history=item._log_history, counts=item._count_history)
    if isinstance(item, dict):
        for key, value in item.items():
            yield from flat(value, f'{name}/{key}')
    elif isinstance(item, (list, tuple)):
        for i, value in enumerate(item):
            yield from flat(value, f'{name}/{i}')
    else:
        yield name, item


def assert_same_end(root, work_dir, but=(), lost=None):
    """Everything but times, paths and versions is equal to the last bit."""
    ends = []
    for end in 'whole', work_dir:
        leaves = dict(flat(saved(root, end)))
        ends.append(
            {
                name: leaf
                for name, leaf in leaves.items()
                if not any(
                    word in name
                    for word in (
                        'time',
                        'meta/cfg',
                        'experiment_name',
                        'ckpt',
                        *but,
                    )
                )
            }
        )
    assert ends[0].keys() == ends[1].keys()
    for name, leaf in ends[0].items():
        if isinstance(leaf, (torch.Tensor, np.ndarray)):
            assert np.array_equal(leaf, ends[1][name]), name
        else:
            assert leaf == ends[1][name], name
    entries = logged(root, 'whole')
    entries.pop(lost, None)
    assert entries == logged(root, work_dir)


@pytest.fixture(scope='module', autouse=True)
def whole(root):
    """Nothing happens to this one, in one process that loads its data."""
    train(root, 'whole', {})
    names = {name.split('/')[1] for name, _ in flat(saved(root, 'whole'))}
    assert names == {
        'meta',
        'state_dict',
        'message_hub',
        'optimizer',
        'param_schedulers',
    }
    steps = [step for kind, step in logged(root, 'whole') if kind == 'loss']
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    losses = [logged(root, 'whole')['loss', step] for step in (1, 5, 8)]
    assert 'unsup.loss' not in losses[0] and losses[1]['unsup.loss'] > 0
    assert [loss.get('unsup.active') for loss in losses] == [None, 1, 1]


def test_killed_while_it_writes_with_workers(root):
    """Within the warm-up of the teachers, too."""
    train(root, 'cut', {3: 'kill'}, WORKERS, code=-9)
    train(root, 'cut', {6: 'cut'}, WORKERS, '--resume', code=-25)
    assert (root / 'cut/iter_6.pth.part').exists()
    out = train(root, 'cut', {}, WORKERS, '--resume')
    assert f'Resuming from {root}/cut/iter_4.pth' in out
    assert 'Falling back to weights_only=False' not in out
    assert {file.name for file in (root / 'cut').glob('iter_*')} == {
        'iter_8.pth'
    }
    assert_same_end(root, 'cut')


def test_a_full_disk(root):
    out = train(root, 'full', {5: 'fill', 7: 'empty'}, WORKERS)
    assert 'iter_6.pth could not be written' in out
    assert f'MiB are free. The last one is {root}/full/iter_4.pth' in out
    assert_same_end(root, 'full')


def test_a_disk_that_stays_full(root):
    out = train(root, 'stuck', {5: 'fill'}, code=1)
    assert 'iter_8.pth could not be written' in out
    assert [file.name for file in (root / 'stuck').glob('iter_*')] == [
        'iter_4.pth'
    ]
    out = train(root, 'stuck', {}, '--resume')
    assert f'Resuming from {root}/stuck/iter_4.pth' in out
    assert_same_end(root, 'stuck')


def test_terminated_in_an_iteration_and_in_a_validation(root):
    """The whole process group, workers too, as schedulers do."""
    out = train(root, 'told', {3: 'terminate'}, WORKERS, code=143)
    assert 'SIGTERM: ended after iteration 3' in out
    out = train(
        root, 'told', {'val': 'terminate'}, WORKERS, '--resume', code=143
    )
    assert f'Resuming from {root}/told/iter_3.pth' in out
    assert 'SIGTERM: ended after iteration 4' in out
    train(root, 'told', {}, WORKERS, '--resume')
    assert_same_end(root, 'told', but=['message_hub'], lost=('mIoU', 4))


def test_terminated_between_two_steps_of_the_optimizer(root):
    out = train(
        root,
        'halves',
        {3: 'terminate'},
        'optim_wrapper.accumulative_counts=2',
        'default_hooks.checkpoint.interval=5',
        code=143,
    )
    assert 'each 5 iterations loses gradients' in out
    assert 'SIGTERM: ended after iteration 4' in out


def test_terminated_on_two_ranks(root):
    """One of them gets the signal; both end after the same iteration."""
    options = command(root, 'ranks', {5: 'terminate'})
    config, *words = map(str, options.pop('words')[1:])
    done = subprocess.run(
        [REPO / 'tools/dist_train.sh', config, '2', *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        **options,
    )
    assert done.returncode == 1, done.stdout[-3000:]
    assert 'SIGTERM: ended after iteration 5' in done.stdout
    first, second = processes.run_ranks(
        2, **command(root, 'ranks', {}, '--resume')
    )
    assert first.returncode == second.returncode == 0, first.stdout[-3000:]
    assert f'Resuming from {root}/ranks/iter_5.pth' in first.stdout


def test_sigterm_is_left_alone_beside_another_checkpoint_hook(caplog):
    handler = signal.getsignal(signal.SIGTERM)
    hook = PreemptionHook()
    runner = SimpleNamespace(
        hooks=[CheckpointHook(by_epoch=False), hook],
        iter=0,
        logger=logging.getLogger('preemption'),
    )
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert signal.getsignal(signal.SIGTERM) == handler
    hook.after_train(runner)
    assert "checkpoint.type='ReliableCheckpointHook'" in caplog.text


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of three iterations, the newest one noted."""
    for step in 2, 4, 6:
        path = tmp_path / f'iter_{step}.pth'
        torch.save(dict(weight=torch.full((99, 99), float(step))), path)
        os.utime(path, (step, step))
    torch.save({}, tmp_path / 'best_mIoU_iter_8.pth')
    (tmp_path / 'last_checkpoint').write_text('/away/iter_6.pth')
    return tmp_path


def choice(folder, caplog, start=None, **options):
    caplog.clear()
    runner = SimpleNamespace(
        _resume=True,
        _load_from=start and str(start),
        work_dir=str(folder),
        logger=logging.getLogger('choice'),
    )
    ReliableCheckpointHook(by_epoch=False, **options).before_run(runner)
    return runner._load_from and Path(runner._load_from).name


def test_the_noted_checkpoint_is_taken(folder, caplog):
    """Wherever the folder is now, and though another one is newer."""
    torch.save({}, folder / 'iter_9.pth')
    assert choice(folder, caplog) == 'iter_6.pth'
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_2.pth'))
    assert choice(folder, caplog) == 'iter_2.pth'


@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(
            path.read_bytes()[:20000] + b'?' + path.read_bytes()[20001:]
        ),
        lambda path: path.write_bytes(b''),
        lambda path: path.unlink(),
        lambda path: path.with_name('last_checkpoint').write_text(''),
    ],
)
def test_a_broken_checkpoint_is_not_taken(folder, caplog, damage):
    damage(folder / 'iter_6.pth')
    noted = (folder / 'last_checkpoint').read_text()
    assert choice(folder, caplog) == 'iter_4.pth' if noted else 'iter_6.pth'
    if noted:
        assert f'Not resuming from {folder}/iter_6.pth' in caplog.text


def test_nothing_to_resume_from(folder, caplog):
    for path in folder.glob('iter_*'):
        path.write_bytes(b'no')
    with pytest.raises(ValueError, match='iter_4.*without --resume'):
        choice(folder, caplog)
    for path in folder.iterdir():
        path.unlink()
    assert choice(folder, caplog) is None
    assert 'from the beginning' in caplog.text


def test_what_a_training_began_with_is_not_what_it_goes_on_from(
    folder, caplog
):
    for start in folder / 'warmup/iter_9.pth', 'https://host/iter_9.pth':
        assert choice(folder, caplog, start) == 'iter_6.pth'
    assert choice(folder, caplog, folder / 'iter_2.pth') == 'iter_2.pth'
    (folder / 'new').mkdir()
    start = folder / 'iter_4.pth'
    assert choice(folder / 'new', caplog, start) == 'iter_4.pth'
    assert caplog.text == ''


def test_checkpoints_in_another_folder(folder, caplog, tmp_path):
    work_dir = tmp_path / f'logs/{folder.name}'
    work_dir.mkdir(parents=True)
    (work_dir / 'last_checkpoint').write_text(str(folder / 'iter_6.pth'))
    (folder / 'iter_6.pth').write_bytes(b'no')
    assert choice(work_dir, caplog, out_dir=str(folder.parent)) == 'iter_4.pth'
    hook = ReliableCheckpointHook(by_epoch=False, out_dir='s3://bucket/runs')
    with pytest.raises(ValueError, match="bucket.*type='CheckpointHook'"):
        hook.before_train(None)


class Counted(SemiSegDataset):
    """Pairs of numbers, and how many were loaded."""

    metainfo = dict(loaded=0)

    def __init__(self):
        self.labeled, self.unlabeled = range(7), range(2975)

    def __getitem__(self, pair):
        self.metainfo['loaded'] += 1
        return pair


def test_the_data_before_is_not_loaded():
    def loop(iters):
        dataset = Counted()
        loop = IterBasedTrainLoop(
            SimpleNamespace(visualizer=SimpleNamespace()),
            DataLoader(
                dataset,
                4,
                sampler=PairSampler(dataset, seed=1),
                collate_fn=list,
            ),
            max_iters=60000,
        )
        loop._iter = iters
        return loop

    batches = loop(0).dataloader_iterator
    expected = [next(batches) for _ in range(2003)][2000:]
    Counted.metainfo['loaded'] = 0
    for iters, expected in (2000, expected), (50000, None):
        resumed = loop(iters)
        skip_trained_data(resumed)
        batches = resumed.dataloader_iterator
        if hasattr(batches, 'skip_iter'):
            batches.skip_iter(iters)
        else:
            assert not any(next(batches) for _ in range(iters))
        seen = [next(batches) for _ in range(3)]
        assert expected in (None, seen)
    assert Counted.metainfo['loaded'] == 2 * 3 * 4


def test_a_validation_alone_saves_nothing():
    hook = ReliableCheckpointHook(interval=1, by_epoch=False)
    hub = SimpleNamespace(runtime_info={})
    hook.after_val_epoch(SimpleNamespace(message_hub=hub), dict(mIoU=1.0))
    assert not hub.runtime_info
