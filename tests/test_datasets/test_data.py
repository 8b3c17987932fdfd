import random
from pathlib import Path
from types import SimpleNamespace

import mmseg
import numpy as np
import pytest
import torch
import torch.nn as nn
from mmcv.transforms import BaseTransform
from mmengine import Config
from mmseg.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_psmt.datasets.checks import class_problems
from mmseg_psmt.models import SemiSegDataPreProcessor
from mmseg_psmt.models.heads import class_heads

register_all_modules()
CLASSES = ('ground', 'shape')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
PACK = dict(type='PackSegInputs')
VIEWS = dict(type='MultiView', weak=[PACK], strong=[PACK])


@pytest.fixture
def root(tmp_path):
    """Six grey images a to f; masks for a to d; lists of two each."""
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for i, name in enumerate('abcdef'):
        pixels = np.full((8, 10, 3), 40 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{name}.png')
    for name in 'abcd':
        mask = Image.fromarray(np.eye(8, 10, dtype=np.uint8), 'P')
        mask.putpalette([0, 0, 0, 128, 0, 0])
        mask.save(tmp_path / 'masks' / f'{name}.png')
    for name, ids in (('labeled', 'ab'), ('val', 'cd'), ('unlabeled', 'ef')):
        (tmp_path / f'{name}.txt').write_text('\n'.join(ids) + '\n')
    return tmp_path


def images(root, name, pipeline):
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        ann_file=f'{name}.txt',
        img_suffix='.png',
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=CLASSES, palette=[[0, 0, 0], [128, 0, 0]]),
        pipeline=pipeline,
    )


def pairs(root, labeled=None, unlabeled=None):
    return DATASETS.build(
        dict(
            type='SemiSegDataset',
            labeled=labeled or images(root, 'labeled', [*LOAD, PACK]),
            unlabeled=unlabeled or images(root, 'unlabeled', [LOAD[0], VIEWS]),
        )
    )


def check(root, num_classes=2, labeled=None, validate=True):
    """Run DataCheckHook as a runner would before its first iteration."""
    model = nn.Module()
    model.data_preprocessor = SemiSegDataPreProcessor(size_divisor=1)
    model.one_pass, model.segmentor = False, nn.Module()
    model.segmentor.backbone = nn.Identity()
    model.segmentor.decode_head = nn.Identity()
    model.segmentor.decode_head.num_classes = 2
    model.segmentor.auxiliary_head = nn.ModuleList([nn.Identity()])
    model.segmentor.auxiliary_head[0].num_classes = num_classes
    runner = SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=pairs(root, labeled)),
        val_loop=SimpleNamespace(evaluator=None) if validate else None,
        val_dataloader=SimpleNamespace(
            dataset=DATASETS.build(images(root, 'val', [*LOAD, PACK]))
        ),
    )
    if not validate:
        del runner.val_dataloader
    HOOKS.build(dict(type='DataCheckHook')).before_train(runner)


def test_a_pair_holds_its_views_without_masks_of_unlabeled_images(root):
    item = pairs(root)[1, 0, (0,)]
    assert set(item) == {'labeled', 'weak', 'strong'}
    assert (item['labeled']['inputs'] == 40).all()
    assert (item['weak']['inputs'] == 160).all()
    assert 'gt_sem_seg' in item['labeled']['data_samples']
    assert 'gt_sem_seg' not in item['weak']['data_samples']


def test_a_warmup_view_of_the_labeled_images(root):
    labeled = images(
        root,
        'labeled',
        [*LOAD, dict(type='MultiView', labeled=[PACK], labeled_weak=[PACK])],
    )
    item = pairs(root, labeled)[0, 0, (0,)]
    assert set(item) == {'labeled', 'labeled_weak', 'weak', 'strong'}


@pytest.mark.parametrize('validate', [True, False])
def test_good_data_passes(root, validate):
    check(root, validate=validate)


@pytest.mark.parametrize('name', ['labeled', 'unlabeled'])
def test_an_empty_list_is_named(root, name):
    (root / f'{name}.txt').write_text('')
    with pytest.raises(ValueError, match=f'{name}.txt names no image'):
        pairs(root)


def test_missing_data_and_lists_are_named(root):
    (root / 'unlabeled.txt').unlink()
    with pytest.raises(
        FileNotFoundError, match='unlabeled.txt does not.*unlabeled'
    ):
        pairs(root)
    labeled = dict(images(root, 'labeled', [*LOAD, PACK]), data_root='gone')
    with pytest.raises(FileNotFoundError, match='gone does not.*PSMT_DATA'):
        pairs(root, labeled)


@pytest.mark.parametrize(
    'name, path',
    [
        ('labeled', 'images/a.png'),
        ('labeled', 'masks/a.png'),
        ('unlabeled', 'images/f.png'),
    ],
)
def test_a_missing_file_is_named(root, name, path):
    (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=f'{path}.*{name}.txt'):
        pairs(root)


def test_a_missing_mask_of_an_unlabeled_image_has_a_remedy(root):
    unlabeled = images(root, 'unlabeled', [*LOAD, VIEWS])
    with pytest.raises(FileNotFoundError, match='LoadAnnotations'):
        pairs(root, unlabeled=unlabeled)


def test_masks_without_a_folder_have_the_same_remedy(root):
    unlabeled = images(root, 'unlabeled', [*LOAD, VIEWS])
    del unlabeled['data_prefix']['seg_map_path']
    with pytest.raises(
        FileNotFoundError, match='seg_map_path.*LoadAnnotations'
    ):
        pairs(root, unlabeled=unlabeled)


def wrapped(part):
    repeat = dict(type='RepeatDataset', times=2, dataset=part)
    return dict(type='ConcatDataset', datasets=[repeat])


def test_wrapped_data_sets_are_checked_alike(root):
    labeled = images(root, 'labeled', [*LOAD, PACK])
    assert len(pairs(root, wrapped(labeled)).labeled) == 4
    check(root, labeled=wrapped(labeled))
    (root / 'masks/a.png').unlink()
    with pytest.raises(FileNotFoundError, match='masks/a.png'):
        pairs(root, wrapped(labeled))
    (root / 'labeled.txt').write_text('')
    with pytest.raises(ValueError, match='labeled.txt names no image'):
        pairs(root, wrapped(labeled))


def test_a_pipeline_without_views_is_refused(root):
    with pytest.raises(ValueError, match='MultiView'):
        pairs(root, unlabeled=images(root, 'unlabeled', [LOAD[0], PACK]))[
            0, 0, (0,)
        ]


def test_random_transforms_follow_from_the_seed_of_the_pair(root):
    @TRANSFORMS.register_module(force=True)
    class ThreeDice(BaseTransform):
        def transform(self, results):
            results['dice'] = (
                random.random(),
                np.random.rand(),
                torch.rand(()).item(),
            )
            return results

    pack = dict(type='PackSegInputs', meta_keys=('dice',))
    views = dict(
        type='MultiView', weak=[pack], strong=[dict(type='ThreeDice'), pack]
    )
    dataset = pairs(
        root,
        unlabeled=images(
            root, 'unlabeled', [LOAD[0], dict(type='ThreeDice'), views]
        ),
    )

    def throw(*seed):
        item = dataset[0, 0, seed]
        return [item[name]['data_samples'].dice for name in ('weak', 'strong')]

    def outside():
        return random.random(), np.random.rand(), torch.rand(()).item()

    for seed in random.seed, np.random.seed, torch.manual_seed:
        seed(1)
    alone = [outside(), outside()]
    for seed in random.seed, np.random.seed, torch.manual_seed:
        seed(1)
    first = throw(5, 0)
    assert [outside(), throw(5, 0), outside()] == [alone[0], first, alone[1]]
    values = {
        value
        for dice in (*first, *throw(5, 1), *throw(6, 0))
        for value in dice
    }
    assert len(values) == 18


def test_a_stock_sampler_is_refused(root):
    with pytest.raises(TypeError, match='PairSampler'):
        pairs(root)[0]


def test_an_image_in_labeled_and_validation_is_named(root):
    Path(root / 'val.txt').write_text('d\nb\n')
    with pytest.raises(
        ValueError, match='images/b.png.*labeled.txt.*validation'
    ):
        check(root)


def test_mask_ids_outside_the_classes_are_named(root):
    mask = np.zeros((8, 10), np.uint8)
    mask[0] = 255
    Image.fromarray(mask).save(root / 'masks/b.png')
    check(root)
    mask[1] = 7
    Image.fromarray(mask).save(root / 'masks/b.png')
    with pytest.raises(ValueError, match=r'masks/b.png.*\[7\].*2 classes'):
        check(root)


def test_disagreeing_num_classes_are_named(root):
    with pytest.raises(
        ValueError, match="head.0.num_classes is 21.*2 classes.*'shape'"
    ):
        check(root, num_classes=21)


def test_a_head_of_boundaries_has_its_own_num_classes(root):
    stock = Path(mmseg.__file__).parent / '.mim/configs/_base_/models/stdc.py'
    head = MODELS.build(Config.fromfile(stock).model.auxiliary_head[2])
    assert head.num_classes == 2
    segmentor = nn.Module()
    segmentor.auxiliary_head = nn.ModuleList([head])
    dataset = SimpleNamespace(metainfo=dict(classes='abc'))
    assert not [*class_problems(class_heads(segmentor), 'labeled', dataset)]
