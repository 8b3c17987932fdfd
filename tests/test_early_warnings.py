"""Warnings of trainings that go wrong, and none of one that goes well."""
import copy
import json
import multiprocessing
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.runner import Runner
from mmseg.utils import register_all_modules
from PIL import Image
from test_mixtures import saved, small
from test_psmt import batch, build

from mmseg_psmt.engine import EarlyWarningHook

CLASSES = ('rose', 'leaf', 'lake')
COLORS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]])
# Without running statistics, so that it is good after a few iterations.
NORM = dict(type='GN', num_groups=4)
SEGMENTOR = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNet', depth=18, num_stages=1, strides=(1, ), dilations=(1, ),
        out_indices=(0, ), base_channels=8, norm_cfg=NORM, norm_eval=False),
    decode_head=dict(
        type='FCNHead', in_channels=8, channels=8, num_convs=1, num_classes=3,
        norm_cfg=NORM),
    test_cfg=dict(mode='whole'))
WARMUP = 20


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Bands whose colour tells the class: 5 labelled and 8 other images."""
    root = tmp_path_factory.mktemp('root')
    shapes, rng = root / 'shapes', np.random.default_rng(0)
    lists = shapes / 'ImageSets/Segmentation'
    for folder in (shapes / 'JPEGImages', shapes / 'SegmentationClass',
                   lists / 'semi/1_8'):
        folder.mkdir(parents=True)
    names = [f'{i:02}' for i in range(17)]
    for name in names:
        mask = np.repeat(rng.permutation(3), (12, 10, 10))[None].repeat(32, 0)
        noise = rng.integers(-20, 21, (32, 32, 3))
        Image.fromarray((COLORS[mask] + noise).astype(np.uint8)).save(
            shapes / f'JPEGImages/{name}.jpg')
        Image.fromarray(mask.astype(np.uint8)).save(
            shapes / f'SegmentationClass/{name}.png')
    for path, part in (('semi/1_8/labeled', names[:5]),
                       ('semi/1_8/unlabeled', names[5:13]),
                       ('val', names[13:])):
        (lists / f'{path}.txt').write_text('\n'.join(part))
    register_all_modules()
    return root


def train(root, work_dir, iters, interval=10, **options):
    """Messages of the early warnings in the log of a training."""
    cfg = small(
        'deeplabv3plus_r18_shapes_1-8', root, work_dir, {}, **{
            'model.data_preprocessor.size': (32, 32),
            'model.warmup_iters': WARMUP,
            'model.ema_decay': 0.9,
            'model.consistency.threshold': 0.6,
            'optim_wrapper.optimizer.lr': 0.2,
            'train_dataloader.batch_size': 5,
            'train_cfg.max_iters': iters,
            'log_level': 'WARNING',
            # trainings that begin in the same second would share a log
            'experiment_name': str(work_dir).replace('/', '_'),
            **options
        })
    cfg.model.segmentor = dict(
        SEGMENTOR, data_preprocessor=cfg.model.segmentor.data_preprocessor)
    labeled, unlabeled = map(cfg.train_dataloader.dataset.get,
                             ('labeled', 'unlabeled'))
    labeled.pipeline[-1].labeled = labeled.pipeline[-1].labeled_weak
    unlabeled.pipeline[-1].strong = unlabeled.pipeline[-1].weak
    for dataset in (labeled, unlabeled, cfg.val_dataloader.dataset):
        dataset.metainfo = dict(classes=CLASSES, palette=COLORS.tolist())
    cfg.custom_hooks = [
        dict(hook, interval=interval)
        if hook['type'] == 'EarlyWarningHook' else hook
        for hook in cfg.custom_hooks if 'Vis' not in hook['type']
    ]
    with pytest.MonkeyPatch.context() as patch:  # yapf takes seconds
        patch.setattr('yapf.yapflib.yapf_api.FormatCode',
                      lambda text, **kwargs: (text, True))
        Runner.from_cfg(cfg).train()
    log = max(work_dir.glob('*/*.log')).read_text()
    return [line.partition('Early warning at iteration ')[2]
            for line in log.splitlines() if 'Early warning' in line]


@pytest.fixture(scope='module')
def healthy(root, tmp_path_factory):
    """Work dir of a training that goes well, and its warnings."""
    work_dir = tmp_path_factory.mktemp('healthy')
    return work_dir, train(root, work_dir, 40, **{
        'train_cfg.val_interval': 10})


def test_a_healthy_training_is_quiet(root, healthy):
    work_dir, messages = healthy
    assert not messages
    state = saved(work_dir, 40)
    assert not [name for name in state if 'count' in name]
    hub = torch.load(work_dir / 'iter_40.pth', weights_only=False)[
        'message_hub']
    share = hub['runtime_info']['early_warning_highest_confident']
    assert 0.5 < share <= 1
    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    last = [json.loads(line) for line in scalars.splitlines()
            if 'mIoU' in line][-1]
    assert last['mIoU'] > 80


def biased(healthy, path, nets, label, bias):
    """Checkpoint of the healthy training, with a bias for a class."""
    state = copy.deepcopy(saved(healthy[0], 40))
    for net in nets:
        state[f'{net}.decode_head.conv_seg.bias'][label] += bias
    torch.save(dict(state_dict=state), path)
    return dict(load_from=str(path), **{
        'model.warmup_iters': 0, 'optim_wrapper.optimizer.lr': 1e-6})


NETS = ('segmentor', 'teachers.0', 'teachers.1')


def test_no_confident_pixel(root, tmp_path):
    first, second = train(root, tmp_path, 6, interval=2, **{
        'model.consistency.threshold': 1., 'model.warmup_iters': 2,
        'model.num_teachers': 1, 'model.ema_decay': 0.})
    assert first.startswith('4: 0.00% of the unlabelled pixels')
    assert second.startswith('6: ')
    assert 'model.consistency.threshold (1.0)' in first


def test_confidence_falls_after_a_resume(root, healthy, tmp_path):
    for name in ('iter_40.pth', 'last_checkpoint'):
        (tmp_path / name).write_bytes((healthy[0] / name).read_bytes())
    message, *_ = train(root, tmp_path, 42, interval=2, resume=True, **{
        'model.consistency.threshold': 1.})
    share, best = map(float, re.findall(r'([\d.]+)%', message))
    assert share < best / 10 and best > 50


def test_a_class_is_never_pseudo_labelled(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS, 2, -100.)
    message, = train(root, tmp_path, 3, interval=3, **options)
    assert message.startswith("3: no pixel was pseudo-labelled 'lake' (class "
                              '2) in the last 3 iterations')
    assert 'rose' not in message and 'leaf' not in message
    assert 'tools/make_splits.py' in message


def test_all_pseudo_labels_are_one_class(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS, 1, 100.)
    message, = train(root, tmp_path, 3, interval=3, **options)
    assert message.startswith('3: 100.00% of the confident pseudo labels in '
                              "the last 3 iterations are 'leaf' (class 1)")
    assert 'model.unsup_weight (1.5)' in message


def test_teachers_are_far_below_the_student(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS[1:], 0, 100.)
    message, = train(root, tmp_path, 2, **options, **{
        'model.ema_decay': 0.999, 'train_cfg.val_interval': 2})
    assert message.startswith('2: the mIoU of the teachers is ')
    teachers, gap, student = map(
        float, re.findall(r'\d+\.\d+', message)[:3])
    assert teachers < 20 and student > 80
    assert student - teachers == pytest.approx(gap, abs=0.011)
    assert 'model.ema_decay (0.999)' in message


@pytest.mark.parametrize('name, value', [('model.ema_decay', 1.),
                                         ('optim_wrapper.optimizer.lr', 0.)])
def test_teachers_are_identical(name, value, root, tmp_path):
    messages = train(root, tmp_path, 5, interval=2, **{
        name: value, 'model.warmup_iters': 1, 'model.alternate_every': 1,
        'model.consistency.threshold': 0.})
    same = [m for m in messages if 'both teachers have the same w' in m]
    assert [m.split(':')[0] for m in same] == ['3', '5']


def test_copies_differ_after_the_first_step(root, tmp_path):
    assert not [
        m for m in train(root, tmp_path, 2, interval=1, **{
            'model.warmup_iters': 1}) if 'both teachers' in m
    ]


def test_fewer_labelled_images_than_a_batch(root, tmp_path):
    message, = train(root, tmp_path, 1, **{'train_dataloader.batch_size': 6})
    assert message.startswith(
        '0: 5 labelled images are fewer than a batch of 6')


class Log(list):
    def __init__(self):
        self.warning = self.append


def fake_runner(model, **attributes):
    info = {}
    labeled = SimpleNamespace(labeled=range(3), metainfo={})
    return SimpleNamespace(
        model=model, iter=0, logger=Log(),
        message_hub=SimpleNamespace(
            get_info=info.get, update_info=info.__setitem__),
        train_dataloader=SimpleNamespace(batch_size=2, dataset=labeled),
        **attributes)


def warnings_of(hook, runner, counts):
    """Of one iteration that counted these pseudo labels."""
    runner.logger.clear()
    runner.model.label_counts = torch.tensor(counts)
    hook.after_train_iter(runner, 0)
    assert runner.model.label_counts == 0
    return list(runner.logger)


def test_what_is_just_healthy():
    model = build()
    with torch.no_grad():  # the other weights stay equal
        model.teachers[1].decode_head.conv_seg.bias.add_(1)
    runner, hook = fake_runner(model), EarlyWarningHook(1)
    hook.before_train(runner)
    assert not warnings_of(hook, runner, [60, 20, 20])
    assert not warnings_of(hook, runner, [5, 4, 91])
    fallen, = warnings_of(hook, runner, [4, 4, 92])
    assert '8.00% of the unlabelled pixels' in fallen
    assert 'after 80.00% at best' in fallen
    assert not warnings_of(hook, runner, [9985, 15, 0])
    one, = warnings_of(hook, runner, [9991, 9, 0])
    assert '99.91% of the confident pseudo labels' in one
    assert "'0' (class 0)" in one


@pytest.mark.parametrize('done, teachers, num', [
    (5, 70, 0), (6, 75, 0), (6, 74.9, 1)])
def test_the_gap_of_the_teachers_counts_after_the_warmup(
        done, teachers, num):
    runner = fake_runner(build(warmup_iters=5))
    runner.iter = done
    EarlyWarningHook().after_val_epoch(
        runner, {'mIoU': teachers, 'student/mIoU': 80.})
    assert len(runner.logger) == num


def test_whole_intervals_after_warmup_and_resume():
    model = build(warmup_iters=4, num_teachers=1)
    for start, expected in ((0, [6, 9]), (5, [7, 10]), (9, [])):
        runner, hook = fake_runner(model), EarlyWarningHook(3)
        runner.iter = start
        hook.before_train(runner)
        told = []
        for runner.iter in range(start, 11):
            runner.logger.clear()
            if runner.iter >= 4:
                model.label_counts += torch.tensor([0, 0, 9])
            hook.after_train_iter(runner, 0)
            told += [runner.iter] * len(runner.logger)
        assert told == expected
        model.label_counts = 0


def test_counts_add_up_over_iterations():
    model = build()
    data = batch(model)
    model.loss(**data)
    once = model.label_counts
    assert once.sum() == data['inputs']['valid'].sum()
    model.loss(**data)
    assert torch.equal(model.label_counts, 2 * once)


def of_rank(rank, folder):
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=2)
    model = SimpleNamespace(
        warmup_iters=0, teachers=[None],
        consistency=SimpleNamespace(threshold=0.6),
        ramp_iters=0, unsup_weight=1.)
    runner, hook = fake_runner(model), EarlyWarningHook(1)
    hook.before_train(runner)
    few = list(runner.logger)
    counts = [[7, 0, 1], [0, 7, 1]][rank]
    (folder / f'{rank}.json').write_text(
        json.dumps([few, warnings_of(hook, runner, counts)]))
    dist.destroy_process_group()


def test_ranks_count_together(tmp_path):
    fork = multiprocessing.get_context('fork')
    ranks = [
        fork.Process(target=of_rank, args=(rank, tmp_path)) for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        assert rank.exitcode == 0
    for rank in (0, 1):
        (few, ), labels = json.loads((tmp_path / f'{rank}.json').read_text())
        assert '3 labelled images are fewer than a batch of 4' in few
        assert not labels


def test_an_interval_is_positive():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        EarlyWarningHook(0)
