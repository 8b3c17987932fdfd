"""What a step would make a GPU wait for, watched on a CPU.

Tensors on 'meta' stand for those on a GPU. Each operation is watched: one
that mixes devices fails, and copies between host and device and reads by the
host are counted, by the line of ours that makes them.

CheckFiniteHook reads one number before each step of the optimizer, or weights
could become NaN. Nothing else of ours waits in a step, and the boxes of
CutMix are its one copy.
"""

import copy
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from test_early_warnings import fake_runner
from test_heads import HEADS, stock_segmentor
from torch.utils._python_dispatch import TorchDispatchMode

import mmseg_psmt
from mmseg_psmt.engine.hooks import (
    CheckFiniteHook,
    EarlyWarningHook,
    PseudoLabelVisHook,
    SpeedHook,
    TeacherEMAHook,
)
from mmseg_psmt.engine.model import backward_with
from mmseg_psmt.models import psmt as psmt_module
from mmseg_psmt.models.ema import ema_update_
from mmseg_psmt.models.heads import REFUSED
from mmseg_psmt.models.tta import SemiSegTTAModel

register_all_modules()
ROOT = Path(mmseg_psmt.__file__).parent
CONFIGS = ROOT.parent / 'configs/psmt'
aten = torch.ops.aten
READS = {
    aten._local_scalar_dense.default: 1,
    aten.equal.default: False,
    aten.is_nonzero.default: True,
}
SHAPES = 'deeplabv3plus_r18_shapes_1-8'
SIZE, NUM = 64, 2


@pytest.fixture(autouse=True)
def meta(monkeypatch):
    """torch has no autocast for 'meta'; backbones read their linspace."""
    stock = torch.autocast
    monkeypatch.setattr(
        torch, 'linspace', partial(torch.linspace, device='cpu')
    )
    monkeypatch.setattr(
        torch,
        'autocast',
        lambda device, *args, **kwargs: stock(
            device.replace('meta', 'cpu'), *args, **kwargs
        ),
    )


def tensors(items):
    """Those in nested lists; torch's pytree takes most of a test's time."""
    for item in items:
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from tensors(item)


class DeviceGuard(TorchDispatchMode):
    """Counts copies and reads, and refuses operations of two devices."""

    def __init__(self):
        super().__init__()
        self.copies, self.reads, self.doubles = Counter(), Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [*tensors(args), *tensors(kwargs.values())]
        where = {x.device.type for x in given if x.dim()}
        on_device = any(x.is_meta for x in given)
        copying = func in (
            aten.copy_.default,
            aten._to_copy.default,
            aten._foreach_copy_.default,
        )
        if len(where) > 1 and func is aten.index.Tensor and args[0].is_meta:
            self.copies[line()] += 1  # an index may be the host's
            args = args[0], [i if i is None else i.to('meta') for i in args[1]]
        elif len(where) > 1 and not copying:
            raise RuntimeError(f'{func} mixes {sorted(where)} in {line()}')
        if func in READS and on_device:
            self.reads[line()] += 1
            return READS[func]
        if (
            func in (aten.nonzero.default, aten.masked_select.default)
            and on_device
        ):
            self.reads[line()] += 1
            full = torch.empty(
                given[0].numel(),
                max(given[0].dim(), 1),
                dtype=torch.long,
                device='meta',
            )
            return full if func is aten.nonzero.default else full[:, 0]
        if func is aten.index.Tensor:
            # a boolean index asks how many there are
            indices = []
            for i in args[1]:
                if i is not None and i.dtype is torch.bool and i.is_meta:
                    self.reads[line()] += 1
                    full = torch.empty(
                        i.numel(), dtype=torch.long, device='meta'
                    )
                    indices += [full] * i.dim()
                else:
                    indices.append(i)
            args = args[0], indices
        away = torch.device(kwargs.get('device') or 'meta').type == 'cpu' or (
            func is aten.copy_.default and not args[0].is_meta
        )
        if copying and on_device and away:
            self.reads[line()] += 1
            return (
                args[0]
                if func is aten.copy_.default
                else torch.zeros(
                    args[0].shape, dtype=kwargs.get('dtype') or args[0].dtype
                )
            )
        out = func(*args, **kwargs)
        made = [*tensors([out])]
        if (
            copying
            and 'cpu' in {x.device.type for x in given}
            and any(x.is_meta for x in made)
        ):
            self.copies[line()] += 1
        if any(
            x.is_meta and x.dim() and x.dtype is torch.float64 for x in made
        ):
            self.doubles[line()] += 1
        return out

    def ours(self, counter):
        """Of a count, what lines of this package make."""
        return Counter(
            {
                name: number
                for name, number in counter.items()
                if name.startswith('mmseg_psmt')
            }
        )


def line():
    """The innermost line of this package, else the one of another."""
    frames = traceback.extract_stack()[:-2]
    for frame in reversed(frames):
        if Path(frame.filename).is_relative_to(ROOT):
            nearer = frames[frames.index(frame) + 1 :]
            stock = [f for f in nearer if '/mmseg/' in f.filename]
            if not stock:
                path = Path(frame.filename).relative_to(ROOT.parent)
                return f'{path}:{frame.lineno}'
            return f'mmseg {Path(stock[-1].filename).name}:{stock[-1].lineno}'
    return next(
        (
            f'{Path(f.filename).name}:{f.lineno}'
            for f in reversed(frames)
            if '/torch/' not in f.filename
        ),
        '',
    )


def images(num=NUM, size=SIZE):
    return torch.rand(num, 3, size, size)


def samples(num=NUM, size=SIZE):
    return [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.zeros(1, size, size).long()),
            gt_edge_map=PixelData(data=torch.zeros(1, size, size).long()),
            metainfo=dict(
                img_path='',
                img_shape=(size, size),
                ori_shape=(size, size),
                pad_shape=(size, size),
            ),
        )
        for _ in range(num)
    ]


def batch(model):
    views = ['labeled', 'weak', 'strong']
    views += ['labeled_weak'] * model.teachers.independent
    with torch.device('meta'):
        inputs = {view: images() for view in views}
        inputs['valid'] = torch.ones(NUM, SIZE, SIZE, dtype=torch.bool)
        return inputs, {view: samples() for view in views}


def on_device(cfg):
    with torch.device('meta'):  # random numbers would take most of the time
        model = MODELS.build(copy.deepcopy(cfg))
    return revert_sync_batchnorm(model).to('meta').train()


def step(model, iteration=None, accumulate=1):
    """One step of the optimizer and the hooks, watched."""
    data, guard = batch(model), DeviceGuard()
    model.set_schedule(100, 10, accumulate)
    first = model.warmup_iters + 1 if iteration is None else iteration
    optim = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        accumulative_counts=accumulate,
    )
    runner = SimpleNamespace(model=model, optim_wrapper=optim)
    model.backward = backward_with(optim)
    finite = CheckFiniteHook()
    finite._fault = lambda *args: ''  # every number that is read is 1
    finite.before_train(runner)
    hooks = TeacherEMAHook(), finite
    with guard:
        for runner.iter in range(first, first + accumulate):
            for hook in hooks:
                hook.before_train_iter(runner, runner.iter)
            terms = model(*data, mode='loss')
            optim.update_params(model.parse_losses(terms)[0])
            for hook in hooks:
                hook.after_train_iter(runner, runner.iter)
    return guard


def check(guard, copies, iterations=1):
    """That nothing of ours waits but for CheckFiniteHook."""
    reads = guard.ours(guard.reads)
    assert all('check_finite_hook.py' in name for name in reads), reads
    assert reads.total() <= iterations, reads
    assert guard.ours(guard.copies).total() <= copies, guard.copies
    # a number for each image, in T-VAT
    doubles = guard.ours(guard.doubles)
    assert all('t_vat.py' in name for name in doubles), doubles


def recipe(name):
    cfg = Config.fromfile(
        CONFIGS / f'{name}.py', import_custom_modules=False
    ).model
    cfg.segmentor.pretrained = None
    for stage in cfg.segmentor.backbone.get('extra', {}).values():
        # one block of HRNet is as good as another
        stage.update(num_modules=1, num_blocks=(1,) * stage.num_branches)
    cfg.data_preprocessor = dict(
        cfg.get('data_preprocessor') or {}, size=(SIZE, SIZE)
    )
    return cfg


RECIPES = [
    'deeplabv3plus_r50_voc_1-8',
    SHAPES,
    'pspnet_r50_voc_1-8',
    'segformer_mit-b0_voc_1-8',
    'fcn_hr18_voc_1-8',
    'upernet_swin-t_voc_1-8',
]


@pytest.mark.parametrize('name', RECIPES)
def test_a_step_of_a_recipe_waits_for_nothing(name):
    check(step(on_device(recipe(name))), copies=1)  # the boxes of CutMix


@pytest.mark.parametrize(
    'options',
    [
        dict(one_pass=True),
        dict(one_pass=False),
        dict(tvat=None),
        dict(tvat=dict(num_iters=2)),
        dict(tvat_with='active'),
        dict(mix=[]),
        dict(
            mix=[
                dict(
                    type='TeacherGuidedCutMix', num_boxes=3, area=(0.25, 0.5)
                ),
                dict(type='RandomZoom'),
            ]
        ),
        dict(consistency=dict(type='SoftmaxMSELoss')),
        dict(teachers=dict(num=1)),
        dict(teachers=dict(norm='batch', topk=3)),
        dict(freeze_backbone=True),
    ],
    ids=str,
)
def test_a_step_with_an_option_waits_for_nothing(options):
    cfg = recipe(SHAPES)
    cfg.update(options)
    check(step(on_device(cfg)), copies=len(options.get('mix', '1')))


def test_gradients_of_several_iterations_wait_for_nothing():
    guard = step(on_device(recipe(SHAPES)), accumulate=3)
    check(guard, copies=3, iterations=3)


def test_independent_teachers_warm_up_and_wait_for_nothing():
    cfg = recipe(SHAPES)
    cfg.teachers = dict(init='independent')
    model = on_device(cfg)
    check(step(model, iteration=0), copies=0)
    check(step(model, iteration=0, accumulate=2), copies=0, iterations=2)


@pytest.mark.parametrize(
    'kind',
    sorted(
        {*HEADS}
        - {*REFUSED}
        - {
            'CCHead',
            'PointHead',
            'IterativeDecodeHead',
            'EncHead',
            'PSAHead',
            'STDCHead',
        }
    ),
)
def test_no_head_mixes_devices(kind):
    """What mmseg's heads wait for by themselves is theirs.

    Those left out need operators that 'meta' lacks, shapes that depend on
    values, or, in their loss, indices of the host.
    """
    cfg = dict(
        type='PSMT',
        segmentor=stock_segmentor(kind),
        warmup_iters=0,
        data_preprocessor=dict(size=(SIZE, SIZE)),
    )
    cfg['segmentor'].setdefault('train_cfg', dict())
    check(step(on_device(cfg)), copies=1)


@pytest.mark.parametrize(
    'test_cfg',
    [
        dict(mode='whole'),
        dict(mode='slide', crop_size=(48, 48), stride=(32, 32)),
    ],
)
def test_a_prediction_reads_nothing_of_ours(test_cfg):
    cfg = recipe(SHAPES)
    cfg.segmentor.test_cfg = test_cfg
    model, guard = on_device(cfg).eval(), DeviceGuard()
    data = dict(inputs=[pixels()] * NUM, data_samples=samples())
    with torch.no_grad(), guard:
        model.test_step(copy.deepcopy(data))
    check(guard, copies=NUM)  # of the images; masks stay with the host
    tta, guard = SemiSegTTAModel(module=model), DeviceGuard()
    views = {key: [value] * 2 for key, value in data.items()}
    with torch.no_grad(), guard:
        tta.test_step(copy.deepcopy(views))
    check(guard, copies=2 * NUM)


def pixels(size=SIZE):
    return torch.zeros(3, size, size, dtype=torch.uint8)


def host_batch(model):
    """As the data loader gives it."""
    return {
        view: dict(inputs=[pixels()] * NUM, data_samples=samples())
        for view in batch(model)[1]
    }


def test_a_batch_is_copied_once():
    """Images, masks, edges."""
    model, guard = on_device(recipe(SHAPES)), DeviceGuard()
    data = host_batch(model)
    with guard:
        model.data_preprocessor(data, True)
    check(guard, copies=len(data) * NUM * 3)


def test_pictures_read_each_image_once():
    """Image, truth, pseudo label, confidence, prediction."""
    model, guard = on_device(recipe(SHAPES)), DeviceGuard()
    model.iter = 50
    hook = PseudoLabelVisHook()
    runner = SimpleNamespace(
        model=model,
        visualizer=SimpleNamespace(dataset_meta={}),
        iter=50,
        max_iters=100,
        work_dir='work_dirs/run',
    )
    with guard:
        hook.draw(runner, host_batch(model))
    assert guard.ours(guard.reads).total() <= 5 * NUM, guard.reads


def test_an_average_of_weights_is_one_call_of_each_kind():
    with torch.device('meta'):
        nets = [
            nn.Sequential(
                nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
            )
            for _ in range(2)
        ]
    calls = Counter()

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with Calls():
        ema_update_(*nets, 0.9)
    assert sum(count for name, count in calls.items() if 'lerp' in name) == 1
    assert sum(calls.values()) <= 3, calls  # and the counter of BN


def test_the_layout_is_changed_on_the_device():
    model, guard = (on_device(recipe(SHAPES)), (DeviceGuard()))
    with guard:
        SpeedHook(channels_last=True).hasten(model)
    assert not guard.copies and not guard.reads


def test_early_warnings_read_when_they_are_due():
    """The counts, and whether one weight of the teachers differs."""
    model, guard = on_device(recipe(SHAPES)), DeviceGuard()
    for iteration in range(40, 43):
        check(step(model, iteration), copies=1)
    assert model.label_counts.is_meta
    runner = fake_runner(model)
    hook = EarlyWarningHook(interval=2)
    hook.labels = torch.zeros(model.out_channels, dtype=torch.long)
    hook.start, hook.span = 0, 2
    found = []
    for runner.iter in range(2):
        with guard:
            hook.after_train_iter(runner, 0, host_batch(model))
        found.append(guard.ours(guard.reads).total())
    assert found == [0, 2], guard.reads


def spoilt(fault):
    """A ConfCELoss with a fault."""
    stock = psmt_module.build_consistency(dict(), 6, 255)

    def forward(logits, targets, valid):
        loss = type(stock).forward(stock, logits, targets, valid)
        if fault == 'item':
            return loss * (1 if loss.item() > 0 else 1)
        if fault == 'mask of the CPU':
            return (
                loss
                + (logits[:, 0] * torch.ones(SIZE, SIZE, device='cpu')).mean()
            )
        if fault == 'numpy':
            return loss + float(valid.cpu().numpy().mean())
        if fault == 'float64':
            return (
                loss
                + (
                    logits
                    * logits.new_ones((), dtype=torch.float64).expand(SIZE)
                ).mean()
            )
        if fault == 'index':
            return loss + logits[:, 0][valid].mean()
        return loss + sum(float(row.sum()) for row in logits[0, 0])

    stock.forward = forward
    return stock


@pytest.mark.parametrize(
    'fault', ['item', 'mask of the CPU', 'numpy', 'float64', 'index', 'loop']
)
def test_a_planted_fault_is_noticed(fault):
    model = on_device(recipe(SHAPES))
    model.consistency = spoilt(fault)
    if fault == 'mask of the CPU':
        with pytest.raises(RuntimeError, match="mixes \\['cpu', 'meta'\\]"):
            step(model)
        return
    guard = step(model)
    with pytest.raises(AssertionError, match='psmt.py:'):
        check(guard, copies=1)
    if fault == 'loop':
        assert max(guard.reads.values()) == SIZE


def test_what_needs_it_is_computed_in_float32_under_autocast():
    """By the types that reach the operations of our lines."""
    seen, reads = {}, []

    class Types(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            if func in READS:
                reads.append(line())
            if any(
                word in name
                for word in ('softmax', 'kl_div', 'lerp', 'vector_norm', 'nll')
            ) and line().startswith('mmseg_psmt'):
                seen.setdefault(name, set()).update(
                    x.dtype for x in tensors(args) if x.is_floating_point()
                )
            return func(*args, **(kwargs or {}))

    cfg = recipe(SHAPES)
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.set_schedule(100, 10)
    model.iter = model.warmup_iters + 50
    with torch.device('meta'):
        views = [*batch(model)[0]]
    inputs = {view: images() for view in views}
    inputs['valid'] = torch.ones(NUM, SIZE, SIZE, dtype=torch.bool)
    half = []
    model.segmentor.backbone.register_forward_hook(
        lambda net, args, out: half.append(out[-1].dtype)
    )
    with Types():
        with torch.autocast('cpu', torch.bfloat16):
            model.loss(inputs, {view: samples() for view in views})
        model.update_teacher()
    assert torch.bfloat16 in half
    assert not any('mmseg_psmt' in name for name in reads), reads
    assert {*seen} >= {
        '_softmax',
        '_log_softmax',
        'linalg_vector_norm',
        '_foreach_lerp_',
    }, seen
    assert not any(torch.bfloat16 in kinds for kinds in seen.values()), seen


def test_a_mix_that_reads_is_named_by_its_line():
    def mix(images, logits, valid, rng):
        images[0, 0, 0, 0].item()
        return images, logits, valid

    model = on_device(recipe(SHAPES))
    model.mix = [mix]
    with pytest.raises(AssertionError, match='psmt.py:'):
        check(step(model), copies=1)
