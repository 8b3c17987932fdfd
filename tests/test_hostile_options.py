"""Any value of any option: it works, or an error names option and value."""

import copy
from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine import Config
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

import mmseg_psmt  # noqa: F401

register_all_modules()
fuzz = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[*HealthCheck],
)
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.floats(-2, 50, width=16),
    st.sampled_from([0, 0.0, 1, 0.5, nan, inf, -inf, 1e-3]),
)
JUNK = st.sampled_from(
    [
        None,
        '',
        '1',
        'a',
        'labeled',
        'kept',
        'linear',
        'student',
        [],
        {},
        (),
        [1],
        ['a'],
        [[]],
        True,
        False,
        (0.5,),
        (0.1, 0.2, 0.3),
        dict(type='x'),
        b'1',
        1j,
        object,
    ]
)
PAIRS = st.tuples(NUMBERS, NUMBERS)
ANYTHING = st.one_of(NUMBERS, JUNK, PAIRS)


def built(registry, kind, option, value, **others):
    """The part, or None where it is refused as it should be."""
    try:
        return registry.build({'type': kind, **others, option: value})
    except ValueError as error:
        assert option in str(error), error
        assert repr(value) in str(error), error


@fuzz
@given(st.sampled_from(['num_boxes', 'beta', 'area', 'prob']), ANYTHING)
def test_cutmix(option, value):
    mix = built(TRANSFORMS, 'TeacherGuidedCutMix', option, value)
    if mix:
        mixes(mix)


@fuzz
@given(st.sampled_from(['scale', 'prob']), ANYTHING)
def test_zoom(option, value):
    zoom = built(TRANSFORMS, 'RandomZoom', option, value)
    if zoom:
        mixes(zoom)


def mixes(mix):
    images, logits = torch.rand(2, 3, 9, 12), torch.rand(2, 4, 9, 12)
    valid = torch.ones(2, 9, 12, dtype=torch.bool)
    rng = np.random.default_rng(0)
    for _ in range(3):
        new = mix(images, logits, valid, rng)
        for old, out in zip((images, logits, valid), new):
            assert out.shape == old.shape and torch.isfinite(out).all()
        assert new[2].dtype == torch.bool
        assert new[0].min() >= 0 and new[0].max() <= 1


@fuzz
@given(
    st.one_of(
        st.tuples(
            st.just('ColorJitter'),
            st.sampled_from(
                ['brightness', 'contrast', 'saturation', 'hue', 'prob']
            ),
        ),
        st.tuples(
            st.just('RandomGaussianBlur'), st.sampled_from(['sigma', 'prob'])
        ),
    ),
    ANYTHING,
)
def test_photometry(part, value):
    kind, option = part
    transform = built(TRANSFORMS, kind, option, value)
    if transform:
        img = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)
        out = transform(dict(img=img))['img']
        assert out.shape == img.shape and out.dtype == np.uint8


@fuzz
@given(ANYTHING)
def test_multi_view(value):
    views = built(TRANSFORMS, 'MultiView', 'weak', value)
    if views:
        assert set(views(dict(img=0))) == {'weak'}


@fuzz
@given(st.sampled_from(['xi', 'eps', 'num_iters']), ANYTHING)
def test_tvat(option, value):
    tvat = built(MODELS, 'TVAT', option, value)
    if tvat:
        torch.manual_seed(0)
        decode = torch.nn.Conv2d(3, 4, 1)
        r = tvat(torch.rand(2, 3, 4, 4), decode)
        assert torch.isfinite(r).all()
        assert (r.flatten(1).norm(dim=1) <= tvat.eps * 1.001).all()


@fuzz
@given(st.sampled_from(['threshold', 'reduction']), ANYTHING)
def test_conf_ce(option, value):
    loss = built(MODELS, 'ConfCELoss', option, value)
    if loss:
        assert torch.isfinite(
            loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))
        )


@fuzz
@given(st.sampled_from(['interval', 'num_images']), ANYTHING)
def test_pseudo_label_vis(option, value):
    hook = built(HOOKS, 'PseudoLabelVisHook', option, value)
    if hook:
        assert getattr(hook, option) is None or range(getattr(hook, option))


@fuzz
@given(ANYTHING)
def test_early_warning(value):
    hook = built(HOOKS, 'EarlyWarningHook', 'interval', value)
    if hook:
        assert hook.interval is None or range(hook.interval)


@fuzz
@given(st.sampled_from(['images', 'broken']), ANYTHING)
def test_unlabeled_folder(option, value):
    others = dict(images='folder', pipeline=[], lazy_init=True)
    dataset = built(
        DATASETS,
        'UnlabeledFolder',
        option,
        value,
        **{k: v for k, v in others.items() if k != option},
    )
    if dataset is not None and option == 'images':
        with pytest.raises(FileNotFoundError, match='holds no image'):
            dataset.load_data_list()


SEGMENTOR = Config.fromfile(
    'configs/_base_/models/deeplabv3plus_r18-d16.py'
).model
SEGMENTOR.backbone.base_channels = 4
SEGMENTOR.decode_head.update(
    in_channels=32, c1_in_channels=4, channels=4, c1_channels=4, num_classes=3
)
SEGMENTOR.data_preprocessor = dict(type='SegDataPreProcessor', size=(32, 32))
OPTIONS = (
    'teachers',
    'teachers.num',
    'teachers.init',
    'teachers.decay',
    'teachers.alternate_every',
    'teachers.norm',
    'teachers.topk',
    'warmup_iters',
    'tvat',
    'tvat_with',
    'perturb_at',
    'mix',
    'consistency',
    'unsup_weight',
    'ramp_iters',
    'predict_with',
    'pretrained',
    'train_cfg',
    'segmentor',
    'data_preprocessor',
)


def batch(model):
    torch.manual_seed(0)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 32, 32))))
        for _ in range(2)
    ]
    view = dict(
        inputs=[torch.randint(256, (3, 32, 32)).byte() for _ in range(2)],
        data_samples=samples,
    )
    return model.data_preprocessor(
        {
            name: copy.deepcopy(view)
            for name in ('labeled', 'labeled_weak', 'weak', 'strong')
        },
        True,
    )


@pytest.mark.parametrize('option', OPTIONS)
def test_psmt(option):
    @settings(fuzz, max_examples=12)
    @given(ANYTHING)
    def check(value):
        name, _, inner = option.partition('.')
        given = copy.deepcopy(value)
        options = {
            'segmentor': SEGMENTOR,
            name: {inner: given} if inner else given,
        }
        try:
            model = MODELS.build({'type': 'PSMT', **options})
        except KeyError as error:  # of the registry
            assert 'type' in str(error) or 'x is not in' in str(error)
            return
        except TypeError as error:  # of a config without a type
            assert 'unexpected keyword' in str(error), error
            return
        except ValueError as error:
            assert option in str(error), error
            return
        model.set_schedule(4, 2)
        model.iter = max(model.warmup_iters, 1)
        losses = model.loss(**batch(model))
        total = model.parse_losses(losses)[0]
        assert torch.isfinite(total)
        total.backward()
        model.update_teacher()
        for param in model.teachers.parameters():
            assert torch.isfinite(param).all()

    check()
