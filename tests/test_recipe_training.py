"""Each kind of recipe trains and tests on drawn images in its layout."""

import runpy
from math import isfinite

import pytest
from fake_data import fake_cityscapes, fake_voc
from mmengine.runner import Runner
from mmseg.utils import register_all_modules
from test_mixtures import small

THIN = {
    'backbone.base_channels': 8,
    'decode_head.in_channels': 256,
    'decode_head.c1_in_channels': 32,
    'decode_head.channels': 16,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('root')
    fake_voc(root, 16, 2)
    fake_cityscapes(root, 8, 2, size=(256, 128))
    return root


MEAN_TEACHER = {
    'model.teachers.num': 1,
    'model.teachers.init': 'copy',
    'model.tvat': None,
    'model.mix': [],
    'model.consistency': dict(type='SoftmaxMSELoss'),
}


@pytest.mark.parametrize(
    'name, changes',
    [('voc_1-8', {}), ('cityscapes_1-8', {}), ('voc_1-8', MEAN_TEACHER)],
)
def test_a_kind_trains_and_tests(name, changes, root, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    register_all_modules()
    options = {
        'model.warmup_iters': 1,
        'train_cfg.max_iters': 3,
        'default_hooks.logger.interval': 1,
        **changes,
    }
    sliding = 'cityscapes' in name
    if sliding:
        options.update(
            {
                'model.segmentor.test_cfg.crop_size': (64, 64),
                'model.segmentor.test_cfg.stride': (42, 42),
            }
        )
    cfg = small(f'deeplabv3plus_r50_{name}', root, tmp_path, THIN, **options)
    runner = Runner.from_cfg(cfg)
    crops = []
    net = runner.model.segmentor
    slide = net.slide_inference
    monkeypatch.setattr(
        net, 'slide_inference', lambda *args: crops.append(1) or slide(*args)
    )
    runner.train()
    metrics = runner.test()
    assert 0 <= metrics['mIoU'] <= 100
    assert 'student/mIoU' in metrics
    assert bool(crops) == sliding
    assert runner.iter == 3
    unsup = runner.message_hub.get_scalar('train/unsup.loss')
    assert isfinite(unsup.current())


@pytest.mark.parametrize('data, num', [('voc', 16), ('cityscapes', 8)])
def test_lists_are_drawn_from_the_whole_set(
    data, num, root, tmp_path, monkeypatch
):
    monkeypatch.setenv('PSMT_DATA', str(root))
    monkeypatch.setattr(
        'sys.argv',
        [
            'make_splits.py',
            f'configs/_base_/datasets/{data}_whole.py',
            '--labeled',
            '1/4',
            '--out',
            str(tmp_path),
        ],
    )
    runpy.run_path('tools/make_splits.py', run_name='__main__')
    lists = [
        (tmp_path / f'{part}.txt').read_text().split()
        for part in ('labeled', 'unlabeled')
    ]
    assert [*map(len, lists)] == [num // 4, num - num // 4]
    assert (tmp_path / 'protocol.txt').read_text() == 'seeded, seed 0\n'
