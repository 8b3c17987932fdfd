"""The configs of the paper's rows hold its recipe, on any number of GPUs."""

from argparse import ArgumentParser
from pathlib import Path

import mmcv
import pytest
import torch
import yaml
from mmengine import Config, DictAction
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.utils import register_all_modules

from mmseg_psmt.models import SoftmaxMSELoss

CONFIGS = Path(__file__).resolve().parents[1] / 'configs/psmt'
VOC, CITYSCAPES = 10582, 2975  # training images
# labeled, passes over the unlabeled images, weight; mIoU of R50 and R101
ROWS = {
    'voc_1-16': (662, 80, 1.5, 72.83, 75.50),
    'voc_1-8': (1323, 80, 1.5, 75.70, 78.20),
    'voc_1-4': (2646, 200, 1.5, 76.43, 78.72),
    'voc_1-2': (5291, 300, 1.5, 77.88, 79.76),
    'voc-blender_1-16': (662, 80, 1.5, None, 78.79),
    'voc-blender_1-8': (1323, 80, 1.5, None, 80.29),
    'voc-blender_1-4': (2646, 200, 1.5, None, 80.66),
    'voc-blender_1-2': (5291, 300, 1.5, None, 80.87),
    'voc-hq_92': (92, 80, 0.06, None, 65.80),
    'voc-hq_183': (183, 80, 0.6, None, 69.58),
    'voc-hq_366': (366, 80, 0.6, None, 76.57),
    'voc-hq_732': (732, 80, 0.6, None, 78.42),
    'voc-hq_1464': (1464, 80, 0.6, None, 80.01),
    'cityscapes_1-8': (372, 320, 3.0, 75.76, 76.89),
    'cityscapes_1-4': (744, 450, 3.0, 76.92, 77.60),
    'cityscapes_1-2': (1488, 550, 3.0, 77.64, 79.09),
}
LISTS = {
    'voc': 'ImageSets/Segmentation/semi',
    'voc-blender': 'ImageSets/Segmentation/semi/blender',
    'voc-hq': 'ImageSets/Segmentation/semi/hq',
    'cityscapes': 'semi',
}


def load(name, gpus=1, accumulate=1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('WORLD_SIZE', str(gpus))
        patch.setenv('PSMT_ACCUMULATE', str(accumulate))
        return Config.fromfile(
            CONFIGS / f'{name}.py', import_custom_modules=False
        )


# Each row has both networks in two loads, where the paper has both.
@pytest.mark.parametrize(
    'row, depth, gpus',
    [
        *((row, 50 if ROWS[row][-2] else 101, 1) for row in ROWS),
        *((row, 101, 4) for row in ROWS),
        ('voc_1-8', 50, 2),
        ('cityscapes_1-8', 50, 2),
    ],
)
def test_the_recipe_of_the_paper(row, depth, gpus):
    labeled, passes, weight, *published = ROWS[row]
    cfg = load(f'deeplabv3plus_r{depth}_{row}', gpus)
    voc = row.startswith('voc')
    batch = (8 if voc else 4) * gpus

    def iterations(images):  # of one pass
        return images // batch + (images % batch > 0)

    unlabeled = (VOC if voc else CITYSCAPES) - labeled
    assert cfg.train_dataloader.batch_size * gpus == batch
    assert cfg.model.warmup_iters == 5 * iterations(labeled)
    assert cfg.model.ramp_iters == 12 * iterations(unlabeled)
    end = 5 * iterations(labeled) + passes * iterations(unlabeled)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == end
    assert cfg.model.unsup_weight == weight
    assert cfg.model.teachers == dict(
        init='independent',
        decay=0.996,
        topk=7,
        alternate_every=iterations(unlabeled),
    )
    assert cfg.model.tvat == dict(type='TVAT', xi=0.1, eps=2.0, num_iters=1)
    assert cfg.model.tvat_with == 'teachers'
    assert cfg.model.one_pass is False
    assert cfg.model.consistency == dict(
        type='ConfCELoss', threshold=0.6, reduction='kept', per_class=False
    )

    protocol, split = row.split('_')
    for part in ('labeled', 'unlabeled'):
        assert cfg.train_dataloader.dataset[part].ann_file == (
            f'{LISTS[protocol]}/{split.replace("-", "_")}/{part}.txt'
        )

    optimizer, scale = cfg.optim_wrapper.optimizer, cfg.auto_scale_lr
    assert scale.enable
    rate = optimizer.lr * batch / scale.base_batch_size
    assert rate == pytest.approx(2.5e-3 * gpus if voc else 4.5e-3 / 2 * gpus)
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == (
        'SGD',
        0.9,
        1e-4,
    )
    assert cfg.optim_wrapper.paramwise_cfg == dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0
    )
    assert cfg.param_scheduler[0].power == 0.9

    model = cfg.model
    assert model.segmentor.backbone.depth == depth
    crop = (512, 512) if voc else (720, 720)
    assert model.data_preprocessor['size'] == crop
    head = model.segmentor.decode_head
    assert (head.num_classes, head.channels) == (21 if voc else 19, 256)
    assert cfg.benchmark.get('published') == published[depth == 101]
    test = model.segmentor.test_cfg
    assert test.mode == ('whole' if voc else 'slide')
    mix = model.get('mix')
    assert (
        mix is None
        if voc
        else (mix[0].num_boxes, mix[0].area) == (3, (0.25, 0.5))
    )


@pytest.mark.parametrize(
    'name',
    [
        'deeplabv3plus_r50_voc_1-8',
        'deeplabv3plus_r50_voc_1-8_supervised',
        'deeplabv3plus_r50_cityscapes_1-2',
        'segformer_mit-b0_voc_1-8',
    ],
)
def test_accumulated_gradients_keep_the_recipe(name):
    whole, parts = load(name, 2), load(name, 2, accumulate=4)
    assert parts.optim_wrapper.accumulative_counts == 4
    assert whole.optim_wrapper.accumulative_counts == 1
    for cfg in whole, parts:
        images = cfg.train_dataloader.batch_size * 2
        cfg.rate = (
            cfg.optim_wrapper.optimizer.lr
            * images
            / cfg.auto_scale_lr.base_batch_size
        )
        cfg.step = images * cfg.optim_wrapper.accumulative_counts
    assert parts.step == whole.step and parts.rate == whole.rate
    with pytest.raises(AssertionError, match='PSMT_ACCUMULATE'):
        load(name, 2, accumulate=16 if 'city' not in name else 8)
    # passes are rounded up to whole iterations
    assert parts.train_cfg.max_iters == pytest.approx(
        4 * whole.train_cfg.max_iters, rel=0.01
    )


@pytest.mark.parametrize(
    'split, published', [('1-8', 77.12), ('1-4', 78.38), ('1-2', 79.22)]
)
def test_the_variant_of_cityscapes_with_larger_crops(split, published):
    cfg = load(f'deeplabv3plus_r50_cityscapes-800_{split}')
    assert cfg.benchmark.published == published
    assert cfg.model.data_preprocessor['size'] == (800, 800)
    assert cfg.model.segmentor.test_cfg.crop_size == (800, 800)
    for part in ('labeled', 'unlabeled'):
        pipeline = cfg.train_dataloader.dataset[part].pipeline
        crops = [t.crop_size for t in pipeline if t.type == 'RandomCrop']
        assert crops == [(800, 800)]
        assert len(pipeline) == 6


ABLATIONS = {
    'model.teachers.num=1': lambda model: len(model.teachers) == 1,
    'model.tvat=None': lambda model: model.tvat is None,
    'model.mix=[]': lambda model: not [*model.mix],
    'model.consistency.type=SoftmaxMSELoss': lambda model: isinstance(
        model.consistency, SoftmaxMSELoss
    ),
}


@pytest.mark.parametrize('word', ABLATIONS)
def test_an_ablation_is_one_word_of_cfg_options(word):
    register_all_modules()
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    cfg = load('deeplabv3plus_r50_cityscapes_1-8')  # which names a mix
    whole = built(cfg)
    before = dict(cfg.model.teachers)
    cfg.merge_from_dict(parser.parse_args(['--cfg-options', word]).cfg_options)
    part = built(cfg)
    assert ABLATIONS[word](part) and not ABLATIONS[word](whole)
    assert {**cfg.model.teachers, 'num': 1} == {**before, 'num': 1}


def built(cfg):
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('data', ['voc', 'cityscapes'])
def test_supervised_only_sees_the_same_labels_as_often(data):
    whole = load(f'deeplabv3plus_r50_{data}_1-8')
    alone = load(f'deeplabv3plus_r50_{data}_1-8_supervised')
    assert alone.train_cfg == whole.train_cfg
    labeled = whole.train_dataloader.dataset.labeled.to_dict()
    dataset = alone.train_dataloader.dataset.to_dict()
    strong = labeled['pipeline'].pop()['labeled']
    assert dataset.pop('pipeline') == labeled.pop('pipeline') + strong
    assert dataset == labeled
    model, segmentor = alone.model, whole.model.segmentor
    assert model.data_preprocessor.pop('size') is not None
    assert model == segmentor
    assert alone.custom_hooks == [dict(type='PreemptionHook')]
    assert alone.custom_hooks[0] in whole.custom_hooks


# The rows of one data set differ in what the test of the recipe compares.
@pytest.mark.parametrize(
    'name',
    [
        'r50_voc_1-8',
        'r101_voc-hq_1464',
        'r50_voc_1-8_supervised',
        'r50_cityscapes_1-8',
        'r101_cityscapes_1-2',
        'r50_cityscapes-800_1-4',
        'r50_cityscapes_1-8_supervised',
        'r18_shapes_1-8',
        'r18_shapes_1-8_supervised',
    ],
)
def test_each_kind_of_config_builds(name):
    register_all_modules()
    cfg = load(f'deeplabv3plus_{name}')
    model = built(cfg)
    net = getattr(model, 'segmentor', model)
    metainfo = cfg.images.get('metainfo', {})
    classes = len(metainfo.get('classes', range(21)))
    assert net.num_classes == (19 if 'cityscapes' in name else classes)
    dataset = cfg.train_dataloader.dataset
    for part in (
        dataset.get('labeled', dataset),
        dataset.get('unlabeled', dataset),
    ):
        assert [TRANSFORMS.build(step) for step in part.pipeline]


@pytest.mark.parametrize(
    'name',
    ['pspnet_r50', 'fcn_hr18', 'segformer_mit-b0', 'upernet_convnext-tiny'],
)
def test_other_networks_have_the_recipe_with_teachers_that_are_copies(name):
    paper = load('deeplabv3plus_r50_voc_1-8').model
    model = load(f'{name}_voc_1-8').model
    assert model.teachers == {**paper.teachers, 'init': 'copy', 'topk': None}
    for key in {*paper} - {'segmentor', 'teachers'}:
        assert model[key] == paper[key], key


@pytest.mark.parametrize('data', ['camvid', 'shapes'])
def test_small_data_sets_have_a_twin_that_differs_in_the_method(data):
    net = dict(camvid='efficientnet-lite0', shapes='r18')[data]
    cfg = load(f'deeplabv3plus_{net}_{data}_1-8')
    twin = load(f'deeplabv3plus_{net}_{data}_1-8_supervised')
    for key in (
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'load_from',
        'test_dataloader',
        'val_dataloader',
    ):
        assert twin[key] == cfg[key], key
    assert twin.custom_hooks == [dict(type='PreemptionHook')]
    labeled = cfg.train_dataloader.dataset.labeled
    plain = twin.train_dataloader.dataset
    assert plain.ann_file == labeled.ann_file
    *geometry, views = labeled.pipeline
    assert plain.pipeline == [*geometry, *views.labeled]
    assert twin.model.data_preprocessor.size == cfg.crop_size


def test_the_index_names_every_config_of_the_paper():
    index = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    page = (CONFIGS / 'README.md').read_text()
    listed = {Path(model['Config']).stem: model for model in index['Models']}
    assert {*listed} == {
        file.stem
        for data in ('voc', 'cityscapes')
        for file in CONFIGS.glob('*.py')
        if f'_{data}' in file.stem
    }
    for name, model in listed.items():
        about = load(name).benchmark
        assert model['Results'] == []
        assert model['Metadata'] == {
            'Training Data': f'{about.data}, {about.protocol}',
            'Method': about.method,
        }
        published = about.get('published')
        published = f'{published:.2f}' if published else '–'
        assert (
            f'| [{name}]({name}.py) | {about.data} | {about.protocol} | '
            f'{about.method} | {published} |\n'
        ) in page


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*_camvid*.py')))
def test_features_of_camvid_lie_above_their_pixels(path):
    cfg = Config.fromfile(path, import_custom_modules=False)
    sizes = [resize.scale for resize in cfg.tta_pipeline[1].transforms[0]]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        sizes += [
            step.scale
            for step in loader.dataset.pipeline
            if step.type == 'Resize'
        ]
    assert len(sizes) > 4
    stride = cfg.model.get('segmentor', cfg.model).backbone.output_stride
    for size in (
        cfg.crop_size,
        *(mmcv.rescale_size((480, 360), tuple(size)) for size in sizes),
    ):
        assert all(side % stride == 1 for side in size), size


def test_the_rise_of_adamw_is_of_1500_updates():
    rise, fall = load('segformer_mit-b0_voc_1-8', accumulate=4).param_scheduler
    assert rise.end == fall.begin == 4 * 1500
