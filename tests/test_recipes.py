"""The configs of the paper's rows hold its recipe, on any number of GPUs."""
import math
from pathlib import Path

import mmcv
import mmseg
import pytest
import torch
import yaml
from mmengine import Config
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.utils import register_all_modules

import mmseg_psmt  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[1] / 'configs/psmt'
VOC, CITYSCAPES = 10582, 2975  # training images
# labelled, passes over the unlabelled images, weight; mIoU of R50 and R101
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


def load(name, gpus=1, accumulate=1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('WORLD_SIZE', str(gpus))
        patch.setenv('PSMT_ACCUMULATE', str(accumulate))
        return Config.fromfile(
            CONFIGS / f'{name}.py', import_custom_modules=False)


@pytest.mark.parametrize('gpus', [1, 2, 4])
@pytest.mark.parametrize('depth', [50, 101])
@pytest.mark.parametrize('row', ROWS)
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
    assert cfg.model.alternate_every == iterations(unlabeled)
    assert cfg.model.ema_decay == 0.996
    assert cfg.model.one_pass is False
    assert cfg.model.consistency == dict(
        type='ConfCELoss', threshold=0.6, reduction='kept')

    optimizer, scale = cfg.optim_wrapper.optimizer, cfg.auto_scale_lr
    assert scale.enable
    rate = optimizer.lr * batch / scale.base_batch_size
    assert rate == pytest.approx(
        2.5e-3 * gpus if voc else 4.5e-3 / 2 * gpus)
    assert (optimizer.type, optimizer.momentum,
            optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert cfg.optim_wrapper.paramwise_cfg == dict(
        norm_decay_mult=0., bias_decay_mult=0.)
    assert cfg.param_scheduler[0].power == 0.9

    model = cfg.model
    assert model.segmentor.backbone.depth == depth
    assert (model.assist_topk, model.teachers_init) == (7, 'independent')
    assert model.get('ema_decay', 0.996) == 0.996
    crop = (512, 512) if voc else (720, 720)
    assert model.data_preprocessor['size'] == crop
    head = model.segmentor.decode_head
    assert (head.num_classes, head.channels) == (21 if voc else 19, 256)
    assert cfg.benchmark.get('published') == published[depth == 101]
    test = model.segmentor.test_cfg
    assert test.mode == ('whole' if voc else 'slide')
    mix = model.get('mix')
    assert mix is None if voc else (mix[0].num_boxes,
                                    mix[0].area) == (3, (0.25, 0.5))


@pytest.mark.parametrize('name', [
    'deeplabv3plus_r50_voc_1-8', 'deeplabv3plus_r50_voc_1-8_supervised',
    'deeplabv3plus_r50_cityscapes_1-2', 'segformer_mit-b0_voc_1-8'])
def test_accumulated_gradients_keep_the_recipe(name):
    whole, parts = load(name, 2), load(name, 2, accumulate=4)
    assert parts.optim_wrapper.accumulative_counts == 4
    assert whole.optim_wrapper.accumulative_counts == 1
    for cfg in whole, parts:
        images = cfg.train_dataloader.batch_size * 2
        cfg.rate = (cfg.optim_wrapper.optimizer.lr * images
                    / cfg.auto_scale_lr.base_batch_size)
        cfg.step = images * cfg.optim_wrapper.accumulative_counts
    assert parts.step == whole.step and parts.rate == whole.rate
    with pytest.raises(AssertionError, match='PSMT_ACCUMULATE'):
        load(name, 2, accumulate=16 if 'city' not in name else 8)
    # passes are rounded up to whole iterations
    assert parts.train_cfg.max_iters == pytest.approx(
        4 * whole.train_cfg.max_iters, rel=0.01)


@pytest.mark.parametrize('split, published',
                         [('1-8', 77.12), ('1-4', 78.38), ('1-2', 79.22)])
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
    'one-teacher': dict(num_teachers=1),
    'no-tvat': dict(tvat=None),
    'no-conf-ce': dict(consistency=dict(type='SoftmaxMSELoss')),
    'no-cutmix': dict(mix=[]),
    'meanteacher': dict(
        num_teachers=1,
        teachers_init='copy',
        tvat=None,
        mix=[],
        consistency=dict(type='SoftmaxMSELoss')),
    'faithful': dict(
        tvat=dict(type='TVAT', start='feature', xi=1e-6, norm_eps=1e-8),
        tvat_with='teachers',
        teacher_norm='batch'),
}


@pytest.mark.parametrize('data', ['voc', 'cityscapes'])
@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_changes_what_its_name_says(name, data):
    whole = load(f'deeplabv3plus_r50_{data}_1-8')
    part = load(f'deeplabv3plus_r50_{data}_1-8_{name}')
    model = {**whole.model.to_dict(), **ABLATIONS[name]}
    if name == 'faithful':
        model['data_preprocessor']['mask_padding'] = False
        if data == 'cityscapes':
            model['predict_with'] = ['teacher1', 'student']
            model['segmentor']['test_cfg'].update(
                crop_size=(800, 800), stride=(534, 534))
    assert part.model.to_dict() == model
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper'):
        assert part[key] == whole[key]


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
    assert model == segmentor and alone.custom_hooks == []


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('deeplab*.py')),
                         ids=lambda file: file.stem)
def test_every_deeplab_config_builds(file):
    register_all_modules()
    cfg = load(file.stem)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    net = getattr(model, 'segmentor', model)
    metainfo = cfg.images.get('metainfo', {})
    classes = len(metainfo.get('classes', range(21)))
    assert net.num_classes == (19 if 'cityscapes' in file.stem else classes)
    dataset = cfg.train_dataloader.dataset
    for part in (dataset.get('labeled', dataset),
                 dataset.get('unlabeled', dataset)):
        assert [TRANSFORMS.build(step) for step in part.pipeline]


def test_the_index_names_every_config_of_the_paper():
    index = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    page = (CONFIGS / 'README.md').read_text()
    listed = {Path(model['Config']).stem: model for model in index['Models']}
    assert {*listed} == {
        file.stem
        for data in ('voc', 'cityscapes') for file in CONFIGS.glob('*.py')
        if f'_{data}' in file.stem
    }
    for name, model in listed.items():
        about = load(name).benchmark
        assert model['Results'] == []
        assert model['Metadata'] == {
            'Training Data': f'{about.data}, {about.protocol}',
            'Method': about.method
        }
        published = about.get('published')
        published = f'{published:.2f}' if published else '–'
        assert (f'| [{name}]({name}.py) | {about.data} | {about.protocol} | '
                f'{about.method} | {published} | not run |') in page


@pytest.mark.parametrize('name', [
    *(f'mobilenetv2_camvid-240_{split}'
      for split in ('1-16', '1-8', '1-4', '1-1')),
    'mobilenetv2-d16_camvid-320_1-8'])
def test_camvid_differs_in_the_method_alone(name):
    cfg = load(f'deeplabv3plus_{name}')
    methods = {  # teachers, loss, CutMix, T-VAT
        'meanteacher': (1, 'SoftmaxMSELoss', False, False),
        'meanteacher_conf-ce': (1, 'ConfCELoss', False, False),
        'no-tvat_no-cutmix': (2, 'ConfCELoss', False, False),
        'no-tvat': (2, 'ConfCELoss', True, False)}
    for method, (teachers, loss, mix, tvat) in methods.items():
        other = load(f'deeplabv3plus_{name}_{method}')
        model = {**other.model}
        assert model.pop('num_teachers', 2) == teachers
        assert model.pop('consistency')['type'] == loss
        assert model.pop('mix', None) == (None if mix else [])
        assert (model.pop('tvat', 'on') == 'on') == tvat
        assert model == {
            key: value for key, value in cfg.model.items()
            if key != 'consistency'}
        assert other.benchmark.method != cfg.benchmark.method
        for key in {*cfg} - {'model', 'benchmark'}:
            assert other[key] == cfg[key], key


@pytest.mark.parametrize('split', ['1-16', '1-8', '1-4', '1-1'])
def test_camvid_goes_on_from_one_warmup(split):
    name = f'deeplabv3plus_mobilenetv2_camvid-240_{split}'
    cfg = load(name)
    labeled, unlabeled = (cfg.train_dataloader.dataset[part].ann_file
                          for part in ('labeled', 'unlabeled'))
    folder = f'ImageSets/Segmentation/semi/{split.replace("-", "_")}'
    assert [labeled, unlabeled] == (
        ['ImageSets/Segmentation/train.txt'] * 2 if split == '1-1' else
        [f'{folder}/labeled.txt', f'{folder}/unlabeled.txt'])
    plain = load(f'{name}_supervised')
    assert plain.model.type == 'EncoderDecoder'
    assert plain.model.data_preprocessor.size == (129, 129)
    assert plain.custom_hooks == [cfg.custom_hooks[-1]] == [
        dict(type='SpeedHook', channels_last=True)]
    size, = (step for step in cfg.test_dataloader.dataset.pipeline
             if step.type == 'Resize')
    assert cfg.tta_pipeline[1].transforms[0][1] == size
    assert plain.train_dataloader.dataset.ann_file == labeled
    for key in ('train_cfg', 'optim_wrapper', 'param_scheduler', 'load_from',
                'test_dataloader', 'val_dataloader'):
        assert plain[key] == cfg[key], key
    warmup = load(f'{name}_warmup')
    assert warmup.load_from is None
    assert f'{name}_warmup/seed0/iter_{warmup.train_cfg.max_iters}.pth' \
        in cfg.load_from
    assert warmup.train_dataloader == plain.train_dataloader
    assert cfg.test_dataloader.dataset.ann_file.endswith('/test.txt')
    assert cfg.val_dataloader.dataset.ann_file.endswith('/val.txt')


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*_camvid*.py')))
def test_features_of_camvid_lie_above_their_pixels(path):
    cfg = Config.fromfile(path, import_custom_modules=False)
    sizes = [resize.scale for resize in cfg.tta_pipeline[1].transforms[0]]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        sizes += [step.scale for step in loader.dataset.pipeline
                  if step.type == 'Resize']
    assert len(sizes) > 4
    stride = math.prod(cfg.model.get('segmentor', cfg.model).backbone.get(
        'strides', (1, 2, 2, 2, 1, 2, 1))) * 2  # that of the stem
    for size in (cfg.crop_size, *(
            mmcv.rescale_size((480, 360), tuple(size)) for size in sizes)):
        assert all(side % stride == 1 for side in size), size


@pytest.mark.parametrize('split', ['1-8', '1-4'])
@pytest.mark.parametrize('width', [320, 480])
def test_camvid_goes_on_from_one_supervised_training(width, split):
    name = f'deeplabv3plus_mobilenetv2-d16_camvid-{width}_{split}'
    cfg, first, other = load(name), load(f'{name}_supervised'), load(
        f'{name}_continued_supervised')
    assert first.load_from is None
    assert cfg.benchmark.data.startswith(f'CamVid {width} x ')
    assert cfg.geometry[2].scale[0] == width
    assert f'/{name}_supervised/seed0/iter_{first.train_cfg.max_iters}.pth' \
        in cfg.load_from
    for key in ('load_from', 'train_cfg', 'optim_wrapper', 'param_scheduler',
                'test_dataloader', 'val_dataloader'):
        assert cfg[key] == other[key], key
    for key in {*first} - {'load_from', 'optim_wrapper', 'benchmark'}:
        assert first[key] == other[key], key
    dataset = cfg.train_dataloader.dataset
    folder = f'ImageSets/Segmentation/semi/{split.replace("-", "_")}'
    assert dataset.labeled.ann_file == f'{folder}/labeled.txt'
    assert dataset.unlabeled.ann_file == f'{folder}/unlabeled.txt'
    plain = other.train_dataloader.dataset
    assert plain.ann_file == dataset.labeled.ann_file
    *geometry, views = dataset.labeled.pipeline
    assert plain.pipeline == [*geometry, *views.labeled]
    loss = cfg.model.segmentor.decode_head.loss_decode
    assert loss == other.model.decode_head.loss_decode == load(
        'deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight'
    ).model.segmentor.decode_head.loss_decode


@pytest.mark.parametrize('split', ['1-8', '1-4'])
def test_camvid_from_imagenet_in_one_schedule(split):
    name = f'deeplabv3plus_mobilenetv2-d16_camvid-320_{split}'
    cfg, plain = load(f'{name}_imagenet'), load(f'{name}_imagenet_supervised')
    for key in ('load_from', 'train_cfg', 'optim_wrapper', 'param_scheduler',
                'default_hooks', 'test_dataloader', 'val_dataloader'):
        assert cfg[key] == plain[key], key
    assert cfg.load_from is None
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_iters == 8000
    schedule = {'max_iters', 'train_cfg', 'param_scheduler', 'benchmark'}
    for key in {*plain} - schedule:
        assert plain[key] == load(f'{name}_supervised')[key], key
    model = {**cfg.model}
    assert 0 < model.pop('warmup_iters') < cfg.train_cfg.max_iters
    assert model == load(name).model
    for key in {*cfg} - schedule - {'load_from', 'optim_wrapper', 'model'}:
        assert cfg[key] == load(name)[key], key


@pytest.mark.skipif(
    mmseg.__version__ == '1.2.2',
    reason='its class_weight fails at ignored pixels')
def test_classes_of_camvid_are_weighted_alike():
    name = 'deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight'
    cfg, plain = load(name), load(f'{name}_supervised')
    assert cfg.load_from == plain.load_from
    loss = cfg.model.segmentor.decode_head.loss_decode
    assert plain.model.decode_head.loss_decode == loss
    logits, label = torch.randn(2, 11, 4, 4), torch.randint(11, (2, 4, 4))
    label[0, 0] = 255
    torch.testing.assert_close(
        MODELS.build(loss)(logits, label, ignore_index=255),
        torch.nn.functional.cross_entropy(
            logits, label, torch.tensor(loss.class_weight), ignore_index=255))


def test_the_rise_of_adamw_is_of_1500_updates():
    rise, fall = load('segformer_mit-b0_voc_1-8', accumulate=4).param_scheduler
    assert rise.end == fall.begin == 4 * 1500
