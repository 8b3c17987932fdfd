import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, load_checkpoint
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

from mmseg_psmt.engine.hooks.teacher_ema_hook import refuse_recomputed_passes
from mmseg_psmt.models import ensemble
from mmseg_psmt.models.heads import logits_of
from mmseg_psmt.models.psmt import MEMORY, RAMP, TURN, WARMUP

register_all_modules()
SEGMENTOR = Config.fromfile(
    'configs/_base_/models/deeplabv3plus_r18-d16.py'
).model
SEGMENTOR.backbone.base_channels = 8
SEGMENTOR.decode_head.update(
    in_channels=64, c1_in_channels=8, channels=16, c1_channels=8, num_classes=7
)
SIZE = 33


def build(**options):
    model = MODELS.build(
        {
            'type': 'PSMT',
            'segmentor': copy.deepcopy(SEGMENTOR),
            'data_preprocessor': dict(size=(SIZE, SIZE)),
            # an untrained teacher is sure of nothing
            'consistency': dict(type='ConfCELoss', threshold=0.0),
            **options,
        }
    )
    torch.manual_seed(0)
    model.init_weights()
    for net in (model.segmentor, *model.teachers):
        for module in net.modules():
            if getattr(module, 'running_mean', None) is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    model.iter = 0
    return model


def test_parts_are_those_of_the_paper_if_they_name_no_type():
    model = build(tvat=dict(eps=0.5), consistency=dict(threshold=0.9))
    assert (type(model.tvat).__name__, model.tvat.eps) == ('TVAT', 0.5)
    assert type(model.consistency).__name__ == 'ConfCELoss'
    assert model.consistency.threshold == 0.9
    assert build(tvat=None).tvat is None


def batch(model, num=2, size=SIZE, masks=True):
    generator = torch.Generator().manual_seed(1)

    def view(with_mask):
        samples = [SegDataSample() for _ in range(num)]
        for sample in samples:
            if with_mask:
                sample.gt_sem_seg = PixelData(
                    data=torch.randint(7, (1, size, size), generator=generator)
                )
        return dict(
            inputs=[
                torch.randint(256, (3, size, size), generator=generator).byte()
                for _ in range(num)
            ],
            data_samples=samples,
        )

    return model.data_preprocessor(
        dict(
            labeled=view(True),
            labeled_weak=view(True),
            weak=view(masks),
            strong=view(False),
        ),
        True,
    )


def total(model, data):
    return model.parse_losses(model.loss(**data))[0]


def test_only_the_student_receives_a_gradient():
    model = build()
    total(model, batch(model)).backward()
    assert all(p.grad is not None for p in model.segmentor.parameters())
    assert all(p.grad is None for p in model.teachers.parameters())
    assert not any(p.requires_grad for p in model.teachers.parameters())


def test_teachers_are_in_eval_after_train():
    model = build().train()
    assert model.segmentor.training
    assert not any(m.training for m in model.teachers.modules())


def test_loss_called_twice_gives_the_same_numbers():
    model = build(
        mix=[
            dict(type='TeacherGuidedCutMix'),
            dict(type='RandomZoom', prob=1.0),
        ]
    )
    assert model.segmentor.decode_head.dropout_ratio > 0
    data = batch(model)
    teachers = copy.deepcopy(model.teachers.state_dict())
    state = torch.get_rng_state()
    first, second = model.loss(**data), model.loss(**data)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    model.iter = 1
    assert model.loss(**data)['unsup.loss'] != first['unsup.loss']
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.teachers.state_dict().items():
        assert torch.equal(value, teachers[name]), name


def test_loss_is_the_algorithm_of_the_paper():
    """With every perturbation off, against the stock parts by hand."""
    model = build(
        tvat=None,
        mix=[],
        one_pass=False,
        unsup_weight=2.0,
        warmup_iters=1,
        ramp_iters=10,
    )
    model.segmentor.decode_head.dropout = None
    model.iter = 6
    data = batch(model)
    losses = model.loss(**data)

    def up(logits):
        return torch.nn.functional.interpolate(
            logits, (SIZE, SIZE), mode='bilinear', align_corners=True
        )

    inputs = data['inputs']
    with torch.no_grad():
        confidence, target = (
            up(sum(teacher(inputs['weak']) for teacher in model.teachers) / 2)
            .softmax(1)
            .max(1)
        )
        unsup = (
            confidence
            * torch.nn.functional.cross_entropy(
                up(model.segmentor(inputs['strong'])), target, reduction='none'
            )
        ).mean()
        label = torch.cat(
            [
                sample.gt_sem_seg.data
                for sample in data['data_samples']['labeled']
            ]
        )
        sup = torch.nn.functional.cross_entropy(
            up(model.segmentor(inputs['labeled'])), label
        )
    torch.testing.assert_close(losses['unsup.loss'], unsup * 2 * 0.5)
    torch.testing.assert_close(losses['sup.decode.loss_ce'], sup)
    assert losses['unsup.weight'] == 1.0


@pytest.mark.parametrize(
    'options',
    [
        dict(teachers=dict(num=1)),
        dict(tvat=None),
        dict(tvat_with='active'),
        dict(perturb_at='conv_seg'),
        dict(mix=[]),
        dict(
            mix=[
                dict(type='TeacherGuidedCutMix', num_boxes=3, area=(0.25, 0.5))
            ]
        ),
        dict(mix=[dict(type='RandomZoom', prob=1.0)]),
        dict(teachers=dict(topk=2)),
        dict(teachers=dict(norm='batch')),
        dict(consistency=dict(type='SoftmaxMSELoss')),
        dict(consistency=dict(type='ConfCELoss', threshold=0.9)),
    ],
)
def test_each_part_is_one_option(options):
    """Each option changes the loss of the default, and trains."""
    default, changed = build(), build(**options)
    changed.load_state_dict(default.state_dict(), strict=False)
    data = batch(default)
    loss = total(changed, data)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss != total(default, data)


def test_a_batch_of_one_is_mixed():
    mixed, plain = build(), build(mix=[])
    for model in (mixed, plain):  # stock BN cannot pool a single image
        model.segmentor.decode_head.image_pool.eval()
    data = batch(mixed, num=1)
    assert mixed.loss(**data)['unsup.loss'] != plain.loss(**data)['unsup.loss']


def test_unlabeled_images_need_no_masks():
    model = build()
    assert 'unsup.correct' in model.loss(**batch(model))
    assert 'unsup.correct' not in model.loss(**batch(model, masks=False))


def test_padding_does_not_reach_the_unsupervised_loss():
    model = build(mix=[], tvat=None)
    data = batch(model, size=20)
    assert data['inputs']['valid'].sum() == 2 * 20 * 20
    seen = {}
    model.consistency.register_forward_pre_hook(
        lambda module, args: seen.update(valid=args[2])
    )
    model.loss(**data)
    assert torch.equal(seen['valid'], data['inputs']['valid'])


def test_batch_norm_of_the_teachers_uses_the_batch_but_keeps_its_buffers():
    running = build()
    by_batch = build(teachers=dict(norm='batch')).train()
    by_batch.load_state_dict(running.state_dict())
    before = copy.deepcopy(by_batch.state_dict())
    data = batch(running)
    images = data['inputs']['weak']
    assert not torch.allclose(
        running.pseudo_logits(images), by_batch.pseudo_logits(images)
    )
    by_batch.loss(**data)
    for name, value in by_batch.state_dict().items():
        if name.startswith('teachers'):
            assert torch.equal(value, before[name]), name
    by_batch.eval(), running.eval()
    torch.testing.assert_close(
        running.pseudo_logits(images), by_batch.pseudo_logits(images)
    )


@pytest.mark.parametrize(
    'fixed, untouched',
    [
        (dict(norm_eval=True), 'backbone'),
        (dict(frozen_stages=2), 'backbone.layer2'),
        (dict(frozen_stages=0), 'backbone.stem'),
    ],
)
def test_what_the_segmentor_fixes_stays_fixed_in_its_teachers(
    fixed, untouched
):
    segmentor = copy.deepcopy(SEGMENTOR)
    segmentor.backbone.update(fixed)
    model = build(segmentor=segmentor, teachers=dict(norm='batch')).train()
    for net in (model.segmentor, *model.teachers):
        modes = {
            name: module.training
            for name, module in net.named_modules()
            if isinstance(module, torch.nn.BatchNorm2d)
        }
        assert {
            mode for name, mode in modes.items() if name.startswith(untouched)
        } == {False}
        assert any(modes.values())
    for teacher in model.teachers:
        others = [
            module
            for module in teacher.modules()
            if not isinstance(module, torch.nn.BatchNorm2d)
        ]
        assert not any(module.training for module in others)
    frozen = model.teachers[0].get_submodule(untouched)
    norm = next(
        m for m in frozen.modules() if isinstance(m, torch.nn.BatchNorm2d)
    )
    data = torch.randn(2, norm.num_features, 4, 4)
    expected = torch.nn.functional.batch_norm(
        data, norm.running_mean, norm.running_var, norm.weight, norm.bias
    )
    torch.testing.assert_close(norm(data), expected)
    model.eval()
    assert all(
        m.track_running_stats
        for m in model.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    )


def test_teachers_take_turns():
    model = build(teachers=dict(alternate_every=3), warmup_iters=2)
    turns = []
    for model.iter in range(2, 14):
        turns.append(model.teachers.active)
    assert turns == [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3
    with torch.no_grad():
        for param in model.segmentor.parameters():
            param.add_(1)
    model.teachers.decay = 0.0
    model.iter = 5
    idle = copy.deepcopy(model.teachers[0].state_dict())
    expected = copy.deepcopy(model.segmentor)
    model.update_teacher()
    for name, value in model.teachers[1].state_dict().items():
        assert torch.equal(value, expected.state_dict()[name])
    for name, value in model.teachers[0].state_dict().items():
        assert torch.equal(value, idle[name])


def test_the_other_teacher_assists_the_active_one():
    model = build(teachers=dict(alternate_every=1, topk=2))
    with torch.no_grad():
        for param in model.teachers[1].parameters():
            param.add_(0.1)
    images = batch(model)['inputs']['weak']
    one, two = (logits_of(teacher, images) for teacher in model.teachers)
    for model.iter, (core, assist) in enumerate([(one, two), (two, one)]):
        expected = model.upsample(ensemble(core, assist, topk=2), images)
        assert torch.equal(model.pseudo_logits(images), expected)
        assert not torch.equal(
            expected, model.upsample(ensemble(assist, core, topk=2), images)
        )


@pytest.mark.parametrize('accumulate', [1, 2])
def test_copies_are_the_mean_of_the_student_at_first(accumulate):
    """And an exponential average once the mean would be slower than that."""
    model = build(teachers=dict(decay=0.75, alternate_every=4), warmup_iters=4)
    model.set_schedule(99, 99, accumulate)
    weight = [
        net.decode_head.conv_seg.bias.data
        for net in (model.segmentor, *model.teachers)
    ]
    expected, seen = [None, None], [[], []]
    for model.iter in range(20):
        weight[0].fill_(model.iter**2)
        if (model.iter + 1) % accumulate:
            continue
        model.update_teacher()
        if model.iter < 4:
            continue
        teacher = (model.iter - 4) // 4 % 2
        seen[teacher].append(model.iter**2)
        expected[teacher] = (
            sum(seen[teacher]) / len(seen[teacher])
            if len(seen[teacher]) <= 4
            else 0.75 * expected[teacher] + 0.25 * model.iter**2
        )
        assert weight[1 + teacher] == pytest.approx(expected[teacher])
    assert len(seen[0]) == 8 // accumulate


def test_independent_teachers_follow_with_the_decay_alone():
    model = build(teachers=dict(init='independent'), warmup_iters=1)
    model.iter = 1
    assert model.teachers.present_decay == model.teachers.decay == 0.996


@pytest.mark.parametrize(
    'options,trained,lengths',
    [
        (dict(), False, (WARMUP * 1000, RAMP * 1000)),
        (dict(), True, (0, RAMP * 1000)),
        (
            dict(teachers=dict(init='independent')),
            True,
            (WARMUP * 1000, RAMP * 1000),
        ),
        (dict(warmup_iters=7, ramp_iters=0), False, (7, 0)),
        (dict(warmup_iters=7), True, (7, RAMP * 1000)),
    ],
)
def test_lengths_follow_the_schedule_unless_given(options, trained, lengths):
    model = build(**options)
    model.set_schedule(1000, 10, trained=trained)
    assert (model.warmup_iters, model.ramp_iters) == lengths
    assert model.teachers.alternate_every == 10


@pytest.mark.parametrize(
    'options,max_iters,every,decay',
    [
        (dict(), 100_000, 300, 0.996),
        (dict(), 1000, TURN * 700, 1 - 1 / (MEMORY * 350)),
        (dict(num=1), 1000, TURN * 700, 1 - 1 / (MEMORY * 700)),
        (dict(alternate_every=7, decay=0.9999), 1000, 7, 0.9999),
        (dict(), 3, 1, 0.0),
    ],
)
def test_teachers_follow_faster_in_a_short_training(
    options, max_iters, every, decay
):
    model = build(teachers=options)
    model.set_schedule(max_iters, 300)
    assert model.teachers.alternate_every == every
    assert model.teachers.decay == pytest.approx(decay)


@pytest.mark.parametrize('every', [None, 1, 2, 3])
@pytest.mark.parametrize('accumulate', [2, 4])
def test_each_teacher_learns_where_gradients_are_accumulated(
    every, accumulate
):
    model = build(teachers=dict(alternate_every=every), warmup_iters=1)
    model.set_schedule(1000, 2, accumulate)
    updates = [0, 0]
    for model.iter in range(1, 49):
        if (model.iter + 1) % accumulate == 0:
            updates[model.teachers.active] += 1
    assert updates == [24 / accumulate] * 2


def test_teachers_take_turns_by_pass():
    model = build(warmup_iters=2)
    model.set_schedule(1000, iters_per_pass=2)
    turns = []
    for model.iter in range(2, 8):
        turns.append(model.teachers.active)
    assert turns == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize('num', [1, 2])
def test_a_plain_checkpoint_goes_to_student_and_teachers(num, tmp_path):
    plain = MODELS.build(SEGMENTOR)
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / 'plain.pth')
    model = build(teachers=dict(num=num, init='independent'), warmup_iters=1)
    load_checkpoint(model, str(tmp_path / 'plain.pth'), strict=True)
    for net in (model.segmentor, *model.teachers):
        for name, value in net.state_dict().items():
            assert torch.equal(value, plain.state_dict()[name]), name
    whole = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(whole)
    for name, value in model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_initial_teachers():
    def weights(net):
        return net.decode_head.conv_seg.weight

    copies = build()
    assert torch.equal(weights(copies.segmentor), weights(copies.teachers[0]))
    assert torch.equal(weights(copies.segmentor), weights(copies.teachers[1]))
    own = build(teachers=dict(init='independent'), warmup_iters=1)
    nets = [weights(net) for net in (own.segmentor, *own.teachers)]
    assert not torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[1], nets[2])


@pytest.mark.parametrize('init', ['independent', 'copy'])
def test_warmup_trains_its_nets_and_frees_their_optimizer_state(init):
    model = build(teachers=dict(init=init), warmup_iters=2).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    messages = []
    runner = SimpleNamespace(
        model=model,
        iter=0,
        max_iters=4,
        cfg=dict(total_batch=8, auto_scale_lr=dict(base_batch_size=16)),
        logger=SimpleNamespace(info=messages.append, warning=messages.append),
        train_dataloader=SimpleNamespace(batch_size=2, dataset=range(7)),
        optim_wrapper=OptimWrapper(optimizer),
        param_schedulers=None,
    )
    hook = HOOKS.build(dict(type='TeacherEMAHook'))
    hook.before_train(runner)
    assert model.teachers.alternate_every == 1
    for runner.iter in range(4):
        hook.before_train_iter(runner, runner.iter)
        before = copy.deepcopy(model.teachers.state_dict())
        losses = model.loss(**batch(model))
        runner.optim_wrapper.update_params(model.parse_losses(losses)[0])
        assert ('unsup.loss' in losses) == (runner.iter >= 2)
        warm = runner.iter < 2 and init == 'independent'
        assert ('warm2.decode.loss_ce' in losses) == warm
        assert not any(
            term.requires_grad
            for name, term in losses.items()
            if name.startswith('warm')
        )
        for i, teacher in enumerate(model.teachers):
            name = 'decode_head.conv_seg.weight'
            moved = not torch.equal(
                teacher.state_dict()[name], before[f'{i}.{name}']
            )
            assert moved == warm
            assert teacher.training == warm
        hook.after_train_iter(runner, runner.iter)
        assert (
            any(p in optimizer.state for p in model.teachers.parameters())
            == warm
        )
        assert all(p in optimizer.state for p in model.segmentor.parameters())
    assert all(p.grad is None for p in model.teachers.parameters())
    assert '4 iterations' in messages[0]
    assert 'first 2 are the supervised warm-up' in messages[1]
    assert 'lengths of the config are for 8' in messages[2]
    assert 'batch is 2, that of the recipe 16' in messages[3]


def schedule_of(batch, recipe, accumulate=1, enable=False):
    """Warnings at the start of a training."""
    model, said = build(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    runner = SimpleNamespace(
        model=model,
        max_iters=9,
        cfg=dict(auto_scale_lr=dict(base_batch_size=recipe, enable=enable)),
        logger=SimpleNamespace(info=lambda _: None, warning=said.append),
        train_dataloader=SimpleNamespace(batch_size=batch, dataset=range(8)),
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=accumulate),
        param_schedulers=None,
    )
    HOOKS.build(dict(type='TeacherEMAHook')).before_train(runner)
    return said


def test_accumulated_gradients_make_a_batch_whole():
    assert not schedule_of(2, recipe=8, accumulate=4)
    assert not schedule_of(8, recipe=8)
    for words in (
        schedule_of(2, recipe=8),
        schedule_of(2, recipe=8, accumulate=2),
        # mmengine scales the rate by the batch alone
        schedule_of(2, recipe=8, accumulate=4, enable=True),
    ):
        assert len(words) == 1 and 'recipe 8' in words[0]


@pytest.mark.parametrize('one_pass', [True, False])
def test_ranks_do_not_recompute_what_two_passes_share(one_pass):
    model = build(one_pass=one_pass)
    model.segmentor.backbone.layer1.with_cp = True
    refuse_recomputed_passes(SimpleNamespace(model=model))
    ranks = SimpleNamespace(model=torch.nn.DataParallel(model))
    if one_pass:
        return refuse_recomputed_passes(ranks)
    with pytest.raises(ValueError, match='backbone.layer1 has with_cp=True'):
        refuse_recomputed_passes(ranks)


def test_a_training_pass_of_a_segmentor_is_not_split():
    class Own(EncoderDecoder):
        def loss(self, inputs, data_samples):
            return dict(super().loss(inputs, data_samples), loss_mine=1.0)

    net = dict(SEGMENTOR, type=Own)
    assert not build(segmentor=net).one_pass
    with pytest.raises(ValueError, match='Own .* training pass of its own'):
        build(segmentor=net, one_pass=True)


def test_epochs_are_refused():
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    hook = HOOKS.build(dict(type='TeacherEMAHook'))
    hook.before_run(SimpleNamespace(_train_loop=None))  # a test
    with pytest.raises(ValueError, match='IterBasedTrainLoop'):
        hook.before_run(SimpleNamespace(_train_loop=loop))


def test_a_resume_goes_on_with_the_same_total_batch(monkeypatch):
    hook = HOOKS.build(dict(type='TeacherEMAHook'))
    warnings = []

    def runner(batch_size, ranks=2, resume=True):
        monkeypatch.setattr(
            'mmseg_psmt.engine.hooks.teacher_ema_hook.get_world_size',
            lambda: ranks,
        )
        return SimpleNamespace(
            _resume=resume,
            model=build(),
            logger=SimpleNamespace(warning=warnings.append),
            train_dataloader=SimpleNamespace(
                batch_size=batch_size, sampler=SimpleNamespace(seed=ranks)
            ),
        )

    checkpoint = dict(meta={}, state_dict=build().state_dict())
    hook.after_load_checkpoint(runner(4), checkpoint)  # of another hook
    saved, resumed = runner(8), runner(8)
    saved.model.set_schedule(1000, 10)
    hook.before_save_checkpoint(saved, checkpoint)
    hook.after_load_checkpoint(resumed, checkpoint)
    resumed.model.set_schedule(5000, 10, trained=True)  # a longer one
    assert resumed.model.warmup_iters == WARMUP * 1000
    assert resumed.model.ramp_iters == RAMP * 1000
    assert resumed.model.teachers.alternate_every == 10
    assert resumed.model.teachers.decay == pytest.approx(
        1 - 1 / (MEMORY * (1 - WARMUP) * 1000 / 2)
    )
    own = runner(8)
    own.model = build(teachers=dict(decay=0.5))
    hook.after_load_checkpoint(own, checkpoint)
    assert own.model.teachers.decay == 0.5
    assert own.model.teachers.alternate_every == 10
    hook.after_load_checkpoint(runner(4, resume=False), checkpoint)
    assert not warnings
    with pytest.raises(ValueError, match='batch of 16.*has 8'):
        hook.after_load_checkpoint(runner(4), checkpoint)
    other = runner(4, ranks=4)
    hook.after_load_checkpoint(other, checkpoint)
    assert 'with 2 processes, this training has 4' in warnings[0]
    assert other.train_dataloader.sampler.seed == 2


def test_copies_stay_copies_until_the_warmup_ends():
    """The first update of a teacher copies the student once more."""
    model = build(warmup_iters=2, teachers=dict(alternate_every=9)).train()
    data = batch(model)
    assert 'unsup.loss' not in model.loss(**data)
    name = 'decode_head.conv_seg.weight'
    for model.iter in range(4):
        with torch.no_grad():
            model.segmentor.get_parameter(name).add_(1)
        model.update_teacher()
        same = [
            torch.equal(
                model.segmentor.get_parameter(name),
                teacher.get_parameter(name),
            )
            for teacher in model.teachers
        ]
        assert same == [model.iter < 3, model.iter < 2]


def test_predict_with_each_net():
    model = build(
        teachers=dict(init='independent'),
        warmup_iters=1,
        predict_with=['teachers', 'student'],
    ).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    metas = [dict(ori_shape=(40, 50), img_shape=(SIZE, SIZE))] * 2

    def logits(predict_with):
        model.predict_with = predict_with
        samples = [SegDataSample(metainfo=meta) for meta in metas]
        return model.predict(images, samples)

    one, two, both, student, pair = map(
        logits,
        (
            ['teacher1'],
            ['teacher2'],
            ['teachers'],
            ['student'],
            ['teachers', 'student'],
        ),
    )
    for i in range(2):
        torch.testing.assert_close(
            both[i].seg_logits.data,
            (one[i].seg_logits.data + two[i].seg_logits.data) / 2,
        )
        plain = model.segmentor.predict(
            images, [SegDataSample(metainfo=meta) for meta in metas]
        )
        assert torch.equal(
            student[i].seg_logits.data, plain[i].seg_logits.data
        )
        assert torch.equal(
            pair[i].pred_sem_seg.data, both[i].pred_sem_seg.data
        )
        assert torch.equal(
            pair[i].student_sem_seg.data, student[i].pred_sem_seg.data
        )
        assert both[i].pred_sem_seg.shape == (40, 50)
    assert model.predict(images)[0].pred_sem_seg.shape == (SIZE, SIZE)


def test_sliding_inference():
    model = build(predict_with='teacher1').eval()
    model.teachers[0].test_cfg = Config(
        dict(mode='slide', crop_size=(17, 17), stride=(8, 8))
    )
    images = torch.rand(1, 3, SIZE, SIZE)
    meta = dict(ori_shape=(SIZE, SIZE), img_shape=(SIZE, SIZE))
    expected = model.teachers[0].slide_inference(images, [dict(meta)])
    (sample,) = model.predict(images, [SegDataSample(metainfo=meta)])
    torch.testing.assert_close(sample.seg_logits.data, expected[0])


@pytest.mark.parametrize(
    'name, value',
    [
        ('teachers', dict(num=3)),
        ('teachers', dict(init='random')),
        ('teachers', dict(decay=1.5)),
        ('teachers', dict(alternate_every=0)),
        ('teachers', dict(norm='layer')),
        ('teachers', dict(topk=0)),
        ('teachers', dict(nun=2)),
        ('teachers', None),
        ('pretrained', 'weights.pth'),
        ('warmup_iters', -1),
        ('tvat_with', 'student'),
        ('unsup_weight', -1),
        ('ramp_iters', -5),
        ('predict_with', 'teacher3'),
        ('predict_with', []),
        ('tvat', dict(type='TVAT', eps=-1)),
        ('consistency', dict(type='ConfCELoss', threshold=2)),
    ],
)
def test_silly_options_are_refused(name, value):
    option = [*value][0] if name == 'teachers' and value else name
    option = dict(tvat='eps', consistency='threshold').get(name, option)
    with pytest.raises(ValueError, match=option):
        build(**{name: value})


@pytest.mark.parametrize('site', ['sep_bottleneck', 'conv_seg', 'inputs'])
def test_perturb_at_is_the_users_choice(site):
    model = build(perturb_at=site)
    assert model.tap.site == site
    data = batch(model)
    total(model, data).backward()
    clean = build(tvat=None)
    assert model.loss(**data)['unsup.loss'] != clean.loss(**data)['unsup.loss']


@pytest.mark.parametrize('site', ['c1_bottleneck', 'bottleneck'])
def test_a_wrong_perturb_at_is_refused_in_the_first_iteration(site):
    model = build(perturb_at=site)
    with pytest.raises(ValueError, match=f'{site}.*DepthwiseSeparableASPP'):
        model.loss(**batch(model))


def test_the_type_of_a_stock_preprocessor_is_replaced():
    model = build(data_preprocessor=dict(type='SegDataPreProcessor', size=7))
    assert type(model.data_preprocessor).__name__ == 'SemiSegDataPreProcessor'


def test_the_preprocessor_is_that_of_the_plain_model():
    stock = dict(SEGMENTOR.data_preprocessor, mean=[1.0, 2.0, 3.0])
    segmentor = dict(SEGMENTOR, data_preprocessor=stock)
    top_level = dict(SEGMENTOR.data_preprocessor)  # from the runner
    for own, mean in ((None, 1), (top_level, 1), (dict(mean=[4.0] * 3), 4)):
        model = build(segmentor=segmentor, data_preprocessor=own)
        assert model.data_preprocessor.mean[0].item() == mean
    del segmentor['data_preprocessor']
    model = build(segmentor=segmentor, data_preprocessor=top_level)
    assert model.data_preprocessor.mean[0].item() == pytest.approx(123.675)


def test_teachers_with_a_frozen_stem_warm_up_in_train_mode():
    segmentor = copy.deepcopy(SEGMENTOR)
    segmentor.backbone.frozen_stages = 1
    model = build(
        segmentor=segmentor, teachers=dict(init='independent'), warmup_iters=1
    )
    for _ in range(2):
        model.train()
    for net in (model.segmentor, *model.teachers):
        assert net.decode_head.training
        assert not net.backbone.layer1.training
        assert not any(p.requires_grad for p in net.backbone.stem.parameters())
    model.iter = 1
    assert not any(m.training for m in model.teachers.modules())


@pytest.mark.parametrize('init', ['copy', 'independent'])
def test_batch_norm_of_the_teachers_after_the_warmup(init):
    model = build(
        teachers=dict(norm='batch', init=init), warmup_iters=1
    ).train()
    model.iter = 1
    norm = model.teachers[0].decode_head.image_pool[1].bn
    assert norm.training and not norm.track_running_stats


def test_the_remedy_for_a_head_of_one_channel_trains():
    segmentor = copy.deepcopy(SEGMENTOR)
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    segmentor.decode_head.update(
        num_classes=1, threshold=0.5, loss_decode=loss
    )
    with pytest.raises(ValueError, match='num_classes=2.*use_sigmoid=False'):
        build(segmentor=segmentor)
    segmentor.decode_head.num_classes = 2
    segmentor.decode_head.loss_decode.use_sigmoid = False
    model = build(segmentor=segmentor, warmup_iters=0)
    data = batch(model)
    for view in data['data_samples'].values():
        for sample in view:
            if 'gt_sem_seg' in sample:
                sample.gt_sem_seg.data %= 2
    total, _ = model.parse_losses(model.loss(**data))
    total.backward()
    assert total.isfinite()
    assert (
        model.eval().predict(data['inputs']['weak'])[0].pred_sem_seg.data.max()
        <= 1
    )


@pytest.mark.parametrize('compiled', [True, dict(backend='eager')])
def test_compile_names_what_works(compiled):
    hook = HOOKS.build(dict(type='TeacherEMAHook'))
    runner = SimpleNamespace(model=build(), cfg=dict(compile=compiled))
    with pytest.raises(ValueError, match='SpeedHook.*model.tvat=None'):
        hook.before_train(runner)
    runner.model = build(tvat=None)
    with pytest.raises(AttributeError):  # of the rest of a runner
        hook.before_train(runner)


def test_a_plain_batch_is_told_what_is_missing():
    model = build()
    with pytest.raises(ValueError, match='SemiSegDataset.*PairSampler'):
        model.loss(torch.zeros(2, 3, SIZE, SIZE), [])
    plain = batch(model)['data_samples']['labeled']
    images = [torch.zeros(3, 20, 20).byte()] * 2
    out = model.data_preprocessor(
        dict(inputs=images, data_samples=plain), True
    )
    assert out['inputs'].shape == (2, 3, SIZE, SIZE)


def test_a_head_of_the_segmentor_is_not_given_to_the_model():
    build(decode_head=dict(type='segmentor'))
    with pytest.raises(ValueError, match='given to model.segmentor'):
        build(decode_head=dict(type='FCNHead'))


def test_a_sigmoid_head_is_refused():
    segmentor = copy.deepcopy(SEGMENTOR)
    segmentor.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)
    with pytest.raises(ValueError, match='set num_classes=2 in decode_head'):
        build(segmentor=segmentor)


def test_a_missing_hook_is_named():
    model = MODELS.build(
        dict(
            type='PSMT',
            segmentor=SEGMENTOR,
            data_preprocessor=dict(size=(SIZE, SIZE)),
        )
    )
    with pytest.raises(RuntimeError, match='TeacherEMAHook'):
        model.loss(**batch(model))
