"""Warnings of trainings that go wrong, and none of one that goes well."""

import copy
import json
import math
import multiprocessing
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from PIL import Image
from test_mixtures import saved, small
from test_psmt import batch

from mmseg_psmt.engine import (
    EarlyWarningHook,
    PseudoLabelVisHook,
    TeacherEMAHook,
)
from mmseg_psmt.engine.hooks.early_warning_hook import too_short
from mmseg_psmt.evaluation import TeacherStudentIoUMetric

CLASSES = ('rose', 'leaf', 'lake')
COLORS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]])
# Without running statistics, so that it is good after a few iterations.
NORM = dict(type='GN', num_groups=4)
SEGMENTOR = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        base_channels=8,
        norm_cfg=NORM,
        norm_eval=False,
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=8,
        channels=8,
        num_convs=1,
        num_classes=3,
        norm_cfg=NORM,
    ),
    test_cfg=dict(mode='whole'),
)
WARMUP = 20


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Bands whose color tells the class: 5 labeled and 8 other images."""
    root = tmp_path_factory.mktemp('root')
    shapes, rng = root / 'shapes', np.random.default_rng(0)
    lists = shapes / 'ImageSets/Segmentation'
    for folder in (
        shapes / 'JPEGImages',
        shapes / 'SegmentationClass',
        lists / 'semi/1_8',
    ):
        folder.mkdir(parents=True)
    names = [f'{i:02}' for i in range(17)]
    for name in names:
        mask = np.repeat(rng.permutation(3), (12, 10, 10))[None].repeat(32, 0)
        noise = rng.integers(-20, 21, (32, 32, 3))
        Image.fromarray((COLORS[mask] + noise).astype(np.uint8)).save(
            shapes / f'JPEGImages/{name}.jpg'
        )
        Image.fromarray(mask.astype(np.uint8)).save(
            shapes / f'SegmentationClass/{name}.png'
        )
    for path, part in (
        ('semi/1_8/labeled', names[:5]),
        ('semi/1_8/unlabeled', names[5:13]),
        ('val', names[13:]),
    ):
        (lists / f'{path}.txt').write_text('\n'.join(part))
    register_all_modules()
    return root


def train(root, work_dir, iters, interval=10, at_start=False, **options):
    """Messages in the log of a training: before it, or the others."""
    cfg = small(
        'deeplabv3plus_r18_shapes_1-8',
        root,
        work_dir,
        {},
        **{
            'model.data_preprocessor.size': (32, 32),
            'model.warmup_iters': WARMUP,
            'model.teachers.decay': 0.9,
            'model.consistency.threshold': 0.6,
            'model.consistency.per_class': False,
            'optim_wrapper.optimizer.lr': 0.2,
            'train_dataloader.batch_size': 5,
            'train_cfg.max_iters': iters,
            'log_level': 'WARNING',
            # trainings that begin in the same second would share a log
            'experiment_name': str(work_dir).replace('/', '_'),
            **options,
        },
    )
    cfg.model.segmentor = dict(
        SEGMENTOR, data_preprocessor=cfg.model.segmentor.data_preprocessor
    )
    labeled, unlabeled = map(
        cfg.train_dataloader.dataset.get, ('labeled', 'unlabeled')
    )
    labeled.pipeline[-1].labeled = labeled.pipeline[-1].labeled_weak
    unlabeled.pipeline[-1].strong = unlabeled.pipeline[-1].weak
    for dataset in (labeled, unlabeled, cfg.val_dataloader.dataset):
        dataset.metainfo = dict(classes=CLASSES, palette=COLORS.tolist())
    cfg.custom_hooks = [
        dict(hook, interval=interval)
        if hook['type'] == 'EarlyWarningHook'
        else hook
        for hook in cfg.custom_hooks
        if 'Vis' not in hook['type']
    ]
    with pytest.MonkeyPatch.context() as patch:  # yapf takes seconds
        patch.setattr(
            'yapf.yapflib.yapf_api.FormatCode',
            lambda text, **kwargs: (text, True),
        )
        Runner.from_cfg(cfg).train()
    log = max(work_dir.glob('*/*.log')).read_text()
    messages = [
        line.partition('Early warning at iteration ')[2]
        for line in log.splitlines()
        if 'Early warning' in line
    ]
    return [m for m in messages if m.startswith('0: ') == at_start]


@pytest.fixture(scope='module')
def healthy(root, tmp_path_factory):
    """Work dir of a training that goes well, and its warnings."""
    work_dir = tmp_path_factory.mktemp('healthy')
    return work_dir, train(
        root,
        work_dir,
        40,
        **{
            'train_cfg.val_interval': 10,
            'default_hooks.checkpoint.interval': 40,
        },
    )


def test_a_healthy_training_is_quiet(root, healthy):
    work_dir, messages = healthy
    assert not messages
    state = saved(work_dir, 40)
    assert not [name for name in state if 'count' in name]
    hub = torch.load(work_dir / 'iter_40.pth', weights_only=False)[
        'message_hub'
    ]['runtime_info']
    assert 0.5 < hub['early_warning_highest_confident'] <= 1
    shares = hub['early_warning_highest_predicted']
    assert min(shares) > 0.2 and sum(shares) < 2
    assert len(hub['early_warning_highest_iou']) == 3
    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    last = [
        json.loads(line) for line in scalars.splitlines() if 'mIoU' in line
    ][-1]
    assert last['mIoU'] > 80


def biased(healthy, path, nets, label, bias):
    """Checkpoint of the healthy training, with a bias for a class."""
    state = copy.deepcopy(saved(healthy[0], 40))
    for net in nets:
        state[f'{net}.decode_head.conv_seg.bias'][label] += bias
    torch.save(dict(state_dict=state), path)
    return dict(
        load_from=str(path),
        **{'model.warmup_iters': 0, 'optim_wrapper.optimizer.lr': 1e-6},
    )


NETS = ('segmentor', 'teachers.0', 'teachers.1')


def test_no_confident_pixel(root, tmp_path):
    first, second = train(
        root,
        tmp_path,
        6,
        interval=2,
        **{
            'model.consistency.threshold': 1.0,
            'model.warmup_iters': 2,
            'model.teachers.num': 1,
            'model.teachers.decay': 0.0,
        },
    )
    assert first.startswith('4: 0.00% of the unlabeled pixels')
    assert second.startswith('6: ')
    assert first.index('model.warmup_iters (2)') < first.index('load_from')
    assert first.index('load_from') < first.index(
        'To lower model.consistency.threshold (1.0)'
    )


def test_confidence_falls_after_a_resume(root, healthy, tmp_path):
    for name in ('iter_40.pth', 'last_checkpoint'):
        (tmp_path / name).write_bytes((healthy[0] / name).read_bytes())
    message, *_ = train(
        root,
        tmp_path,
        42,
        interval=2,
        resume=True,
        **{'model.consistency.threshold': 1.0},
    )
    share, best = map(float, re.findall(r'([\d.]+)%', message))
    assert share < best / 10 and best > 50


def test_a_class_is_never_pseudo_labeled(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS, 2, -100.0)
    (message,) = train(root, tmp_path, 3, interval=3, **options)
    assert message.startswith(
        '3: the pseudo labels in the last 3 iterations hold less than a tenth'
    )
    share = float(
        re.search(r"of 'lake' \(class 2\) 0.00% \((\S+)%\)", message)[1]
    )
    assert share == pytest.approx(100 * 10 / 32, abs=5)  # of the columns
    assert 'rose' not in message and 'leaf' not in message
    assert 'have not learned it. Lengthen model.warmup_iters (0)' in message


def test_all_pseudo_labels_are_one_class(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS, 1, 100.0)
    options['model.unsup_weight'] = 1.5
    (message,) = train(root, tmp_path, 3, interval=3, **options)
    assert message.startswith(
        '3: 100.00% of the confident pseudo labels in '
        "the last 3 iterations are 'leaf' (class 1)"
    )
    assert 'model.unsup_weight (1.5)' in message


def test_teachers_are_far_below_the_student(root, healthy, tmp_path):
    options = biased(healthy, tmp_path / 'biased.pth', NETS[1:], 0, 100.0)
    (message,) = train(
        root,
        tmp_path,
        2,
        **options,
        **{'model.teachers.decay': 0.999, 'train_cfg.val_interval': 2},
    )
    assert message.startswith('2: the mIoU of the teachers is ')
    teachers, gap, student = map(float, re.findall(r'\d+\.\d+', message)[:3])
    assert teachers < 20 and student > 80
    assert student - teachers == pytest.approx(gap, abs=0.011)
    assert 'model.teachers.decay (0.999)' in message


def test_teachers_are_identical(root, tmp_path):
    messages = train(
        root,
        tmp_path,
        5,
        interval=2,
        **{
            'optim_wrapper.optimizer.lr': 0.0,
            'model.warmup_iters': 1,
            'model.teachers.alternate_every': 1,
            'model.consistency.threshold': 0.0,
        },
    )
    same = [m for m in messages if 'both teachers have the same w' in m]
    assert [m.split(':')[0] for m in same] == ['3', '5']


def test_copies_differ_after_the_first_step(root, tmp_path):
    assert not [
        m
        for m in train(
            root, tmp_path, 2, interval=1, **{'model.warmup_iters': 1}
        )
        if 'both teachers' in m
    ]


def test_fewer_labeled_images_than_a_batch(root, tmp_path):
    few, short = train(
        root, tmp_path, 1, at_start=True, **{'train_dataloader.batch_size': 6}
    )
    assert few.startswith('0: 5 labeled images are fewer than a batch of 6')
    assert short.startswith('0: 1 iterations of 6 are 1.2 passes over the 5')


def build(**options):
    """A small model of 7 classes that is sure of everything."""
    segmentor = copy.deepcopy(SEGMENTOR)
    segmentor['decode_head']['num_classes'] = 7
    model = MODELS.build(
        {
            'type': 'PSMT',
            'segmentor': segmentor,
            'tvat': None,
            'data_preprocessor': dict(size=(33, 33)),
            'consistency': dict(threshold=0.0),
            **options,
        }
    )
    model.iter = 0
    return model


class Log(list):
    def __init__(self):
        self.warning = self.append


def clock(trained=True):
    hook = TeacherEMAHook()
    hook.trained = trained
    return hook


def fake_runner(model, **attributes):
    info = {}
    labeled = SimpleNamespace(labeled=range(3), metainfo={})
    return SimpleNamespace(
        **{
            **dict(
                model=model,
                iter=0,
                max_iters=100,
                logger=Log(),
                hooks=[clock()],
                message_hub=SimpleNamespace(
                    get_info=lambda key, default=None: copy.deepcopy(
                        info.get(key, default)
                    ),
                    update_info=info.__setitem__,
                ),
                train_dataloader=SimpleNamespace(
                    batch_size=2, dataset=labeled
                ),
                val_evaluator=SimpleNamespace(metrics=[]),
            ),
            **attributes,
        }
    )


def masks(*pixels):
    """A batch whose labeled pixels, times 16, hold so many of each class."""
    ids = torch.tensor(
        [255] + [i for i, n in enumerate(pixels) for _ in range(n)]
    )
    ids = ids.repeat_interleave(4)[None, None].repeat(1, 4, 1)
    sample = SegDataSample(gt_sem_seg=PixelData(data=ids))
    return dict(labeled=dict(data_samples=[sample]))


def warnings_of(hook, runner, sure, unsure=None, labels=None):
    """Of one iteration that counted these pseudo labels and labels."""
    runner.logger.clear()
    runner.model.label_counts = torch.tensor([sure, unsure or [0] * len(sure)])
    hook.after_train_iter(runner, 0, masks(*labels or [1] * len(sure)))
    assert runner.model.label_counts == 0
    return list(runner.logger)


def begin(interval=1, **attributes):
    """Hook and runner before the first iteration, whose teachers differ."""
    model = build(warmup_iters=0)
    with torch.no_grad():  # the other weights stay equal
        model.teachers[1].decode_head.conv_seg.bias.add_(1)
    runner, hook = fake_runner(model, **attributes), EarlyWarningHook(interval)
    hook.before_train(runner)
    runner.logger.clear()
    return hook, runner


def equal(total, num=7):
    return [total // num] * num


def test_confidence_that_fell():
    hook, runner = begin()
    assert not warnings_of(hook, runner, equal(70), equal(7))
    assert not warnings_of(hook, runner, equal(70), equal(560))
    (fallen,) = warnings_of(hook, runner, equal(70), equal(700))
    assert '9.09% of the unlabeled pixels' in fallen
    assert 'after 90.91% at best' in fallen
    assert 'model.unsup_weight (1.0)' in fallen


def test_confidence_that_never_rose():
    hook, runner = begin()
    (low,) = warnings_of(hook, runner, equal(14), equal(700))
    assert '1.96% of the unlabeled pixels' in low
    assert low.count('1.96%') == 2 and 'model.warmup_iters (0)' in low
    assert not warnings_of(hook, runner, equal(70), equal(560))
    assert not warnings_of(hook, runner, equal(14), equal(700))  # not fallen


def test_one_remedy_at_a_time():
    """Where hardly a pixel is confident, no class is, either."""
    hook, runner = begin()
    (low,) = warnings_of(hook, runner, FULL[:6] + [1], [10000] * 7)
    assert '% of the unlabeled pixels were confident' in low


def test_an_ignored_class_is_not_labeled():
    hook, runner = begin()
    head = runner.model.segmentor.decode_head
    assert warnings_of(hook, runner, [0] + [100] * 6)
    hook.labels.zero_()
    head.ignore_index = 0
    assert not warnings_of(hook, runner, [0] + [100] * 6)


def test_nearly_all_pseudo_labels_are_one_class():
    hook, runner = begin()
    rare = [1, 1, 1, 1, 1, 1, 6]
    assert not warnings_of(
        hook, runner, [2, 2, 2, 2, 2, 2, 9985], None, [1, 1, 1, 1, 1, 1, 10000]
    )
    hook.labels.zero_()
    (one,) = warnings_of(hook, runner, [0, 0, 0, 0, 0, 9, 9991], None, rare)
    assert '99.91% of the confident pseudo labels' in one
    assert "'6' (class 6), 50.00% of the labels" in one


def test_a_class_that_is_nearly_everything_may_be_all_pseudo_labels():
    """Such as the ground around a crack."""
    hook, runner = begin()
    assert not warnings_of(
        hook, runner, [0, 0, 0, 0, 0, 1, 1999], None, [0, 0, 0, 0, 0, 9, 3000]
    )[1:]
    collapsed = [m for m in runner.logger if 'collapsed' in m]
    assert not collapsed


FULL = [100] * 6


@pytest.mark.parametrize(
    'before, sure, unsure, cause',
    [
        (FULL + [100], FULL + [11], None, None),
        (
            FULL + [100],
            FULL + [5],
            [0] * 6 + [100],
            'are seldom confident. Lower model.consistency.threshold (0.0)',
        ),
        (
            FULL + [100],
            FULL + [5],
            None,
            'stopped predicting it. Begin '
            'again with a lower model.unsup_weight (1.0)',
        ),
        (
            FULL + [5],
            FULL + [5],
            None,
            'have not learned it. Lengthen '
            'model.warmup_iters (0), or set load_from',
        ),
    ],
)
def test_a_class_far_below_its_share_in_the_labels(
    before, sure, unsure, cause
):
    hook, runner = begin()
    warnings_of(hook, runner, before)
    messages = warnings_of(hook, runner, sure, unsure)
    assert len(messages) == bool(cause)
    if cause:
        assert "'6' (class 6) 0.83% (14.29%). Unless" in messages[0]
        assert cause in messages[0] and "'5'" not in messages[0]


def test_a_class_that_nobody_labeled():
    hook, runner = begin()
    (message,) = warnings_of(hook, runner, FULL + [0], None, [1] * 6 + [0])
    assert "hold '6' (class 6), which cannot be learned" in message
    assert not warnings_of(hook, runner, FULL + [9], None, [1] * 6 + [0])


@pytest.mark.parametrize(
    'done, max_iters, teachers, num',
    [
        (5, 100, 70, 0),
        (6, 100, 75, 0),
        (6, 100, 74.9, 1),
        (49, 100, 77, 0),
        (50, 100, 77.9, 1),
        (50, 100, 78, 0),
    ],
)
@pytest.mark.parametrize(
    'nets',
    [
        ['teachers', 'student'],
        ['student', 'teachers'],
        ['teacher2', 'student'],
    ],
)
def test_the_gap_of_the_teachers_counts_after_the_warmup(
    nets, done, max_iters, teachers, num
):
    runner = fake_runner(
        build(warmup_iters=5, predict_with=nets),
        iter=done,
        max_iters=max_iters,
    )
    values = [80.0 if net == 'student' else teachers for net in nets]
    EarlyWarningHook().after_val_epoch(
        runner, {'mIoU': values[0], f'{nets[1]}/mIoU': values[1]}
    )
    assert len(runner.logger) == num
    assert all('below the student' in m for m in runner.logger)


def scored(metric, ious):
    """Have a metric see this IoU of each class, None for an absent one."""
    parts = torch.tensor([[0, 0] if x is None else [x, 100] for x in ious]).T
    areas = torch.full((len(ious),), 100)
    metric.dataset_meta = dict(classes=[*'abcdefg'])
    metric.compute_metrics([(*parts, areas, areas)])


def test_a_class_that_is_known_no_more():
    metric = TeacherStudentIoUMetric()
    hook, runner = (
        EarlyWarningHook(),
        fake_runner(
            build(warmup_iters=5),
            val_evaluator=SimpleNamespace(metrics=[metric]),
        ),
    )

    def told(done, *ious):
        runner.iter = done
        runner.logger.clear()
        scored(metric, ious)
        hook.after_val_epoch(runner, {'mIoU': 50.0})
        return list(runner.logger)

    hook.after_val_epoch(runner, {'mIoU': 50.0})  # nothing has been scored
    assert not told(4, 15, 16, 40, 40, None, 0, 1)
    assert not told(5, 0, 0, 0, 0, 0, 0, 0)  # still in the warm-up
    assert not told(6, 0, 8, 20, 50, None, 0, 0)
    (message,) = told(7, 0, 8, 19, 24, None, 90, 0)
    assert 'the teachers knew' in message
    assert (
        "'2' (class 2) 19.0 (40.0), '3' (class 3) 24.0 (50.0). Begin"
        in message
    )
    assert not told(8, 0, 8, 20, 25, None, 90, 0)


def test_the_metric_keeps_the_iou_of_each_class():
    metric = TeacherStudentIoUMetric()
    assert metric.class_iou == []
    scored(metric, [25, None, 0, 100, 1, 2, 3])
    assert metric.class_iou[0] == 25 and math.isnan(metric.class_iou[1])
    assert metric.class_iou[2:4] == [0, 100]


def test_whole_intervals_after_warmup_and_resume():
    model = build(warmup_iters=4, teachers=dict(num=1))
    for start, expected in ((0, [6, 9]), (5, [7, 10]), (9, [])):
        runner, hook = fake_runner(model), EarlyWarningHook(3)
        runner.iter = start
        hook.before_train(runner)
        told = []
        for runner.iter in range(start, 11):
            runner.logger.clear()
            if runner.iter >= 4:
                model.label_counts += torch.tensor([[0] * 6 + [9], [0] * 7])
            hook.after_train_iter(runner, 0, masks(*[1] * 7))
            told += [runner.iter] * len(runner.logger)
        assert told == expected
        model.label_counts = 0


@pytest.mark.parametrize(
    'warmup, max_iters, expected',
    [
        (0, 600, 60),
        (150, 600, 45),
        (0, 9, 1),
        (9, 9, 1),
        (99, 9, 1),
        (100, 60_100, 6000),
    ],
)
def test_an_interval_is_a_tenth_of_what_is_left(warmup, max_iters, expected):
    model = build(warmup_iters=warmup)
    for start in (0, 7):  # a resumed training goes on alike
        runner = fake_runner(model, max_iters=max_iters, iter=start)
        hook = EarlyWarningHook()
        hook.before_train(runner)
        assert hook.span == expected


def test_pictures_begin_at_the_end_of_the_warmup():
    runner = fake_runner(build(warmup_iters=5), max_iters=45)
    hook, due = PseudoLabelVisHook(), []
    for runner.iter in range(20):
        due += [runner.iter + 1] * hook._is_due(runner)
    assert due == [6, 9, 13, 17]


def test_a_given_interval_is_kept():
    hook = EarlyWarningHook(7)
    hook.before_train(fake_runner(build()))
    assert hook.span == 7
    due = [
        i + 1
        for i in range(20)
        if PseudoLabelVisHook(7)._is_due(fake_runner(None, iter=i))
    ]
    assert due == [7, 14]


PRETRAINED = dict(type='Pretrained', checkpoint='plain.pth')


@pytest.mark.parametrize(
    'warmup, trained, init, fine',
    [
        (0, False, {}, False),
        (0, False, {'segmentor.backbone': PRETRAINED}, False),
        (0, True, {}, True),  # load_from or resumed
        (1, False, {}, True),
        (None, False, {}, True),  # a share of the schedule
        (0, False, {'': PRETRAINED}, True),
        (0, False, {'segmentor': PRETRAINED}, True),
        (0, False, {'segmentor.decode_head': [PRETRAINED]}, True),
    ],
)
def test_teachers_that_nothing_trains_are_refused(warmup, trained, init, fine):
    model = build(warmup_iters=warmup)
    for name, cfg in init.items():
        model.get_submodule(name).init_cfg = cfg
    runner = fake_runner(model, hooks=[clock(trained)])
    if fine:
        return EarlyWarningHook().before_train(runner)
    with pytest.raises(ValueError, match='model.warmup_iters=0, and no check'):
        EarlyWarningHook().before_train(runner)


def test_a_missing_clock_is_named():
    runner = fake_runner(build(), hooks=[EarlyWarningHook()])
    with pytest.raises(ValueError, match="dict.type='TeacherEMAHook'."):
        EarlyWarningHook().before_train(runner)

    class Clock(TeacherEMAHook):
        pass

    runner.hooks.append(Clock())
    EarlyWarningHook().before_train(runner)


@pytest.mark.parametrize(
    'labeled, batch, iters, words',
    [
        (60, 6, 100, []),
        (
            60,
            6,
            99,
            [
                '99 iterations of 6 are 9.9 passes over the 60 labeled',
                'to at least 100',
            ],
        ),
        (61, 6, 100, ['9.8 passes', 'to at least 102']),
        (5, 6, 100, ['5 labeled images are fewer than a batch of 6']),
    ],
)
def test_a_schedule_is_long_enough(labeled, batch, iters, words):
    problems = [*too_short(labeled, batch, iters)]
    assert len(problems) == bool(words)
    assert all(word in problems[0] for word in words)


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
        'gloo', f'file://{folder}/store', rank=rank, world_size=2
    )
    model = SimpleNamespace(
        warmup_iters=0,
        given=dict(warmup_iters=None),
        out_channels=2,
        segmentor=SimpleNamespace(
            decode_head=SimpleNamespace(ignore_index=255)
        ),
        teachers=[None],
        consistency=SimpleNamespace(threshold=0.6),
        ramp_iters=0,
        unsup_weight=1.0,
    )
    runner, hook = fake_runner(model), EarlyWarningHook(1)
    hook.before_train(runner)
    few = list(runner.logger)
    own = [[[7, 0], [0, 7]][rank], [1, 0], [[3, 0], [0, 3]][rank]]
    (folder / f'{rank}.json').write_text(
        json.dumps([few, warnings_of(hook, runner, *own)])
    )
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
        (few,), labels = json.loads((tmp_path / f'{rank}.json').read_text())
        assert '3 labeled images are fewer than a batch of 4' in few
        assert not labels


@pytest.mark.parametrize('hook', [EarlyWarningHook, PseudoLabelVisHook])
def test_an_interval_is_positive(hook):
    with pytest.raises(ValueError, match='at least 1, got 0'):
        hook(0)
