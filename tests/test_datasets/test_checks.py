"""What can be wrong with data, each kind with members of its own."""

import logging
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image, PngImagePlugin
from pipelines import (
    COLORS,
    CROP,
    LOAD,
    MASK,
    PACK,
    ROTATE,
    draw,
    folder,
    on_image,
    pairs,
    problems,
    stock,
    transform,
    views,
)

from mmseg_psmt.datasets import ColorJitter, RandomGaussianBlur, images
from mmseg_psmt.datasets.checks import (
    FAULTS,
    agreement_problems,
    batch_problems,
    class_problems,
    ignore_problems,
    leaks,
    lone_class_problems,
    metric_problems,
    photo_warnings,
    scan_all,
)
from mmseg_psmt.datasets.images import Budget, in_threads
from mmseg_psmt.datasets.probes import step_problems, view_problems
from mmseg_psmt.datasets.semi_dataset import build_part
from mmseg_psmt.models import SemiSegDataPreProcessor
from mmseg_psmt.options import did_you_mean


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return draw(tmp_path_factory.mktemp('root'))


def built(root, pipeline=(LOAD, MASK, PACK), **options):
    return DATASETS.build(stock(root, [*pipeline], **options))


def copy_of(root, tmp_path):
    shutil.copytree(root, tmp_path / 'data')
    return tmp_path / 'data'


def repaint(path, change):
    ids = np.array(Image.open(path))
    Image.fromarray(change(ids).astype(np.uint8)).save(path)


def faults(dataset, kind='labeled'):
    return [
        seen[fault]
        for seen in scan_all(kind, dataset)
        for fault in FAULTS
        if seen.get(fault)
    ]


# classes, ids and sizes that parts must agree on


def named(root, *classes, **options):
    dataset = built(root, **options)
    dataset._metainfo.update(classes=classes)
    return dataset


def test_classes_are_compared_by_name_and_place(root):
    ours = built(root)  # ground, disc, square

    def found(**parts):
        return [*agreement_problems(dict(labeled=ours, **parts))]

    (problem,) = found(validation=named(root, 'disc', 'ground', 'square'))
    for words in (
        "Class 0 is 'ground'",
        "'disc' in the validation",
        'another order',
        'metainfo.classes',
    ):
        assert words in problem
    (problem,) = found(validation=named(root, 'ground', 'disc', 'ring'))
    assert "Class 2 is 'square'" in problem and 'order,' not in problem
    (problem,) = found(unlabeled=named(root, 'ground', 'square', 'disc'))
    assert 'unlabeled' in problem
    assert not found(
        validation=named(root, 'Ground', 'disc', 'square'),
        unlabeled=named(root, 'x', 'y', 'z', pipeline=[LOAD, PACK]),
    )


def test_ids_that_differ_by_one_are_named(root):
    ours = built(root, reduce_zero_label=True)
    (problem,) = agreement_problems(dict(labeled=ours, validation=built(root)))
    assert 'reduce_zero_label is True' in problem and 'validation' in problem
    assert not [
        *agreement_problems(
            dict(labeled=ours, validation=built(root, reduce_zero_label=True))
        )
    ]


def heads(**ignored):
    return {
        name: SimpleNamespace(ignore_index=value, num_classes=3)
        for name, value in ignored.items()
    }


def test_ignored_ids_are_compared_with_every_head(root, tmp_path):
    data = copy_of(root, tmp_path)
    repaint(data / 'masks/c.png', lambda ids: np.where(ids == 2, 254, ids))
    dataset = built(data, ignore_index=254)
    scanned = scan_all('labeled', dataset)
    assert not any(seen.get('ids') for seen in scanned)

    def found(pad=None, dataset=dataset, scanned=scanned, **ignored):
        return [*ignore_problems(heads(**ignored), pad, dataset, scanned)]

    (problem,) = found(decode_head=254, auxiliary_head=255)
    assert 'hold 254' in problem
    assert 'auxiliary_head.ignore_index is 255' in problem
    assert not found(decode_head=254, pad=254)
    (problem,) = found(decode_head=254, pad=255)
    assert 'seg_pad_val' in problem and '255' in problem
    assert not found(decode_head=254, pad=0)  # padding that is a class
    plain = built(root)
    assert not found(
        decode_head=0, dataset=plain, scanned=scan_all('labeled', plain)
    )
    rotated = built(root, [LOAD, MASK, dict(ROTATE, prob=1.0), PACK])
    (problem,) = found(decode_head=0, dataset=rotated, scanned=[])
    assert problem.startswith('RandomRotate') and 'with 255' in problem
    assert not found(decode_head=255, dataset=rotated, scanned=[])


def test_ignored_ids_of_the_validation_are_those_of_the_metric():
    scanned = [dict(pixels={}), dict(pixels={}, ignored=254)]
    (problem,) = metric_problems([254, 255], scanned)
    assert 'hold 254' in problem and 'is 255' in problem
    assert not [*metric_problems([255], scanned[:1])]


def small(root):
    return folder(root, [LOAD, dict(CROP, crop_size=(32, 48)), views()])


def test_crops_are_compared_where_images_are_joined(root):
    dataset = pairs(root, unlabeled=small(root))
    exact = SemiSegDataPreProcessor(size=(32, 32))
    (problem,) = batch_problems(dataset, exact, one_pass=True)
    for words in ('64 x 64', '32 x 48', 'crop_size', 'one_pass'):
        assert words in problem
    padded = SemiSegDataPreProcessor(size=(64, 64))
    assert not [*batch_problems(dataset, padded, one_pass=True)]
    assert not [*batch_problems(dataset, exact, one_pass=False)]


RAW = dict(LOAD, color_type='unchanged')
CONVERT = {
    'gray': lambda image: image.convert('L'),
    'alpha': lambda image: image.convert('RGBA'),
    'deep': lambda image: Image.fromarray(
        np.asarray(image.convert('L')).astype(np.uint16) * 256
    ),
}


def change_image(path, kind):
    image = CONVERT[kind](Image.open(path).convert('RGB'))
    image.save(path)


def of_batches(data, size=(64, 64), validation=None, **options):
    """What a training of these parts would be told."""
    dataset = pairs(data, **options)
    scanned = dict(labeled=scan_all('labeled', dataset.labeled))
    if validation is not None:
        scanned['validation'] = scan_all('validation', validation)
    return [
        *batch_problems(
            dataset,
            SemiSegDataPreProcessor(size=size),
            False,
            1,
            scanned,
            validation,
        )
    ]


@pytest.mark.parametrize('kind', ['gray', 'alpha'])
@pytest.mark.parametrize('part', ['labeled', 'unlabeled'])
def test_an_image_of_other_channels_is_named(root, tmp_path, part, kind):
    data = copy_of(root, tmp_path)
    change_image(data / 'images/f.png', kind)  # the last of six
    mixed = dict(
        labeled=stock(data, [RAW, MASK, CROP, PACK]),
        unlabeled=folder(data, [RAW, CROP, views()]),
    )
    assert of_batches(data) == []  # loaded as three channels
    (problem,) = of_batches(data, **{part: mixed[part]})
    assert 'images/f.png is ' in problem


def test_an_image_of_other_depth_is_named(root, tmp_path):
    data = copy_of(root, tmp_path)
    for name in 'abcdef':
        change_image(data / f'images/{name}.png', 'gray')
    unlabeled = folder(data, [RAW, CROP, views()])
    labeled = stock(data, [RAW, MASK, CROP, PACK])
    both = dict(labeled=labeled, unlabeled=unlabeled)
    assert of_batches(data, **both) == []
    change_image(data / 'images/f.png', 'deep')
    (problem,) = of_batches(data, **both)
    assert 'f.png enters with 1 channels in uint16' in problem
    assert 'in uint8' in problem


def test_the_validation_is_as_deep_as_the_training(root):
    gray = dict(LOAD, color_type='grayscale')
    (problem,) = of_batches(root, validation=built(root, [gray, MASK, PACK]))
    assert '3 channels' in problem and '1 channels' in problem
    assert not of_batches(root, validation=built(root, [LOAD, MASK, PACK]))
    # of floats nobody knows the range
    floats = dict(LOAD, to_float32=True)
    assert not of_batches(root, validation=built(root, [floats, MASK, PACK]))


@pytest.mark.parametrize('size', [(40, 100), (90, 50), (200, 100)])
def test_an_image_of_another_size_is_named(root, tmp_path, size):
    data = copy_of(root, tmp_path)
    path = data / 'images/f.png'
    Image.open(path).resize(size[::-1]).save(path)
    whole = folder(data, [LOAD, views()])
    labeled = stock(data, [LOAD, MASK, CROP, PACK], ann_file='five.txt')
    (data / 'five.txt').write_text('a\nb\nc\nd\ne')
    (problem,) = of_batches(data, None, labeled=labeled, unlabeled=whole)
    assert 'f.png is 3 x {} x {}'.format(*size) in problem
    fits = (200, 200)
    assert not of_batches(data, fits, labeled=labeled, unlabeled=whole)


def test_masks_of_zero_and_255_are_named(root, tmp_path):
    data = copy_of(root, tmp_path)
    for name in 'abcdef':
        repaint(
            data / f'masks/{name}.png', lambda ids: np.where(ids > 0, 255, 0)
        )

    def found(dataset):
        scanned = scan_all('labeled', dataset)
        return [*lone_class_problems('labeled', dataset, scanned)]

    (problem,) = found(built(data))
    assert '0 (ground) and 255 alone' in problem and 'save it as 1' in problem
    assert not found(built(root))
    repaint(data / 'masks/a.png', lambda ids: np.where(ids > 0, 1, 0))
    assert not found(built(data))  # a second class


def test_each_labeled_part_is_compared(root, tmp_path):
    data = copy_of(root, tmp_path)
    repaint(data / 'masks/a.png', lambda ids: np.where(ids == 2, 254, ids))
    repaint(data / 'masks/b.png', lambda ids: np.where(ids == 2, 255, ids))
    for name, ignored in ('a', 254), ('b', 255):
        (data / f'{name}.txt').write_text(name)
    both = DATASETS.build(
        dict(
            type='ConcatDataset',
            datasets=[
                stock(data, [LOAD, MASK], ann_file='b.txt'),
                stock(data, [LOAD, MASK], ann_file='a.txt', ignore_index=254),
            ],
        )
    )
    (problem,) = ignore_problems(
        heads(decode_head=255), None, both, scan_all('labeled', both)
    )
    assert 'hold 254' in problem
    both.datasets[1]._metainfo = dict(classes=('disc', 'ground'))
    (problem,) = class_problems(heads(decode_head=255), 'labeled', both)
    assert "2 classes: ('disc', 'ground')" in problem
    both.datasets[1]._metainfo = {}
    (problem,) = class_problems(heads(decode_head=255), 'labeled', both)
    assert 'no classes' in problem


def test_images_that_the_suffix_leaves_out_are_named(
    root, tmp_path, caplog, monkeypatch
):
    data = copy_of(root, tmp_path)
    logger = logging.getLogger('mmengine')
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.get_current_instance', lambda: logger
    )
    build_part('labeled', stock(data, [LOAD, MASK, PACK]))
    assert not caplog.text
    for name in 'ab':
        (data / f'images/{name}.png').rename(data / f'images/{name}.PNG')
    dataset = build_part('labeled', stock(data, [LOAD, MASK, PACK]))
    assert len(dataset) == 4
    assert '2 images' in caplog.text and 'a.PNG' in caplog.text
    for name in 'cdef':
        (data / f'images/{name}.png').unlink()
    with pytest.raises(ValueError, match="no image that ends in '.png'"):
        build_part('labeled', stock(data, [LOAD, MASK, PACK]))


def test_an_image_may_carry_a_long_text(root, tmp_path):
    data = copy_of(root, tmp_path)
    text = PngImagePlugin.PngInfo()
    text.add_text('XML:com.adobe.xmp', 'x' * 2**21, zip=True)
    path = data / 'images/a.png'
    Image.open(path).save(path, pnginfo=text)
    assert not faults(built(data))
    assert len(DATASETS.build(folder(data, [LOAD, CROP, views()]))) == 6


def test_channels_are_compared(root):
    gray = folder(root, [dict(LOAD, color_type='grayscale'), CROP, views()])
    (problem,) = batch_problems(
        pairs(root, unlabeled=gray),
        SemiSegDataPreProcessor(size=(64, 64)),
        False,
    )
    assert '3 channels' in problem and 'color_type' in problem


# masks that another transform than LoadAnnotations makes


@TRANSFORMS.register_module()
class LoadNothing(LoadAnnotations):
    """A mask without a file."""

    def _load_seg_map(self, results):
        results['gt_seg_map'] = np.ones(results['img'].shape[:2], np.uint8)
        results['seg_fields'].append('gt_seg_map')


def own_mask(results):
    results['gt_seg_map'] = (results['img'][..., 0] > 90).astype(np.uint8)
    results['seg_fields'].append('gt_seg_map')


def merge(results):
    results['gt_seg_map'][results['gt_seg_map'] == 7] = 255


MADE = {
    'a mask of the image': [LOAD, transform('OwnMask', own_mask)],
    'a mask without a file': [LOAD, dict(type='LoadNothing')],
    'made after the crop': [LOAD, CROP, transform('OwnMask', own_mask)],
    'loaded after a resize': [
        LOAD,
        dict(type='Resize', scale=(50, 45), keep_ratio=True),
        MASK,
    ],
    'with ids that are merged': [LOAD, MASK, transform('Merge', merge)],
    'merged after the crop': [LOAD, MASK, CROP, transform('Merge', merge)],
}


@pytest.mark.parametrize('name', MADE)
def test_the_mask_that_the_pipeline_makes_is_checked(root, tmp_path, name):
    data = copy_of(root, tmp_path)
    if 'merged' in name:  # in one that is not looked at
        repaint(data / 'masks/f.png', lambda ids: np.where(ids == 1, 7, ids))
    elif 'MASK' not in name and MASK not in MADE[name]:
        shutil.rmtree(data / 'masks')
    dataset = built(data, [*MADE[name], PACK])
    assert not faults(dataset)
    labeled = [*MADE[name], PACK]
    semi = pairs(data, labeled=stock(data, labeled))
    assert 'gt_sem_seg' in semi[0, 0, (0,)]['labeled']['data_samples']

    def spoil(results):
        results['gt_seg_map'][:3] = 9

    spoilt = built(data, [*MADE[name], transform('Spoil', spoil), PACK])
    if name != 'merged after the crop':
        found = faults(spoilt)
        assert len(found) == 6 and all('[9]' in each for each in found)


def test_a_pipeline_that_makes_no_mask_is_named(root):
    found = faults(built(root, [LOAD, PACK]))
    assert len(found) == 6 and 'gt_seg_map' in found[0]
    assert 'LoadAnnotations' in found[0]
    assert not faults(built(root, [LOAD, PACK]), 'unlabeled')


# masks in colors


def colored(root, tmp_path, mode='RGB'):
    data = copy_of(root, tmp_path)
    for path in (data / 'masks').iterdir():
        ids = np.array(Image.open(path))
        Image.fromarray(np.array(COLORS, np.uint8)[ids]).convert(mode).save(
            path
        )
    return data


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_masks_in_colors_are_named_and_the_remedy_works(root, tmp_path, mode):
    data = colored(root, tmp_path, mode)
    found = faults(built(data))
    assert len(found) == 6
    assert 'RGB colors' in found[0] and "type='ColorsToIds'" in found[0]
    shown = [str(tuple(color)) for color in COLORS]
    assert all(color in ''.join(found) for color in shown)
    to_ids = dict(type='ColorsToIds', colors=COLORS)
    dataset = built(data, [LOAD, MASK, to_ids, PACK])
    assert not faults(dataset)
    for item, path in zip(dataset, sorted((root / 'masks').iterdir())):
        np.testing.assert_array_equal(
            item['data_samples'].gt_sem_seg.data[0], Image.open(path)
        )
    # and where the masks of unlabeled images serve metrics
    semi = pairs(
        data,
        labeled=stock(data, [LOAD, MASK, to_ids, PACK]),
        unlabeled=stock(data, [LOAD, MASK, to_ids, views()]),
    )
    sample = semi[0, 3, (0,)]['weak']['data_samples']
    np.testing.assert_array_equal(
        sample.gt_sem_seg.data[0], Image.open(root / 'masks/d.png')
    )


def test_colors_of_no_class_are_named_or_ignored(root, tmp_path):
    data = colored(root, tmp_path)
    two = dict(type='ColorsToIds', colors=COLORS[:2])
    found = faults(built(data, [LOAD, MASK, two, PACK]))
    assert str(COLORS[2]) in found[0] and 'others=255' in found[0]
    dataset = built(data, [LOAD, MASK, dict(two, others=255), PACK])
    assert not faults(dataset)
    ids = dataset[0]['data_samples'].gt_sem_seg.data.unique().tolist()
    assert {*ids} <= {0, 1, 255}
    # of masks that hold ids it says so as a transform that fails
    (problem,) = step_problems('labeled', built(root, [LOAD, MASK, two, PACK]))
    assert 'take ColorsToIds out' in problem


def test_photos_in_place_of_masks_are_named(root, tmp_path):
    data = copy_of(root, tmp_path)
    shutil.copy(data / 'images/b.png', data / 'masks/a.png')
    (problem,) = faults(built(data))
    assert 'colors' in problem and 'not photos' in problem


@pytest.mark.parametrize(
    'colors', [[], [[0, 0]], [[0, 0, 256]], [[1, 2, 3], [1, 2, 3]], 'red']
)
def test_silly_colors_are_refused(colors):
    with pytest.raises(ValueError, match='colors must be different colors'):
        TRANSFORMS.build(dict(type='ColorsToIds', colors=colors))


# copies and masks among the photos


def listed(root, tmp_path, name, names):
    (tmp_path / name).write_text('\n'.join(names))
    return built(root, ann_file=str(tmp_path / name))


def test_copies_in_the_validation_are_found_by_content(root, tmp_path):
    data = copy_of(root, tmp_path)
    validation = listed(data, tmp_path, 'val.txt', 'ab')
    assert not [
        *leaks('labeled', listed(data, tmp_path, 'l.txt', 'cd'), validation)
    ]
    for part in ('images', 'masks'):
        shutil.copy(data / f'{part}/b.png', data / f'{part}/holiday 1.png')
    (data / 'images/other.png').write_bytes(
        bytes(reversed((data / 'images/b.png').read_bytes()))
    )  # of the same size
    training = listed(data, tmp_path, 'l.txt', ['c', 'holiday 1'])
    (problem,) = leaks('labeled', training, validation)
    for words in ('holiday 1.png', 'copy of', 'b.png', 'take'):
        assert words in problem
    photos = DATASETS.build(
        dict(
            type='UnlabeledFolder',
            pipeline=[LOAD],
            images=[
                str(data / 'images/holiday 1.png'),
                str(data / 'images/c.png'),
            ],
        )
    )
    assert len([*leaks('unlabeled', photos, validation)]) == 1


def photos(tmp_path, **files):
    """A folder of noise, and of the images given."""
    rng = np.random.default_rng(0)
    for i in range(3):
        path = tmp_path / f'photos/n{i}.png'
        path.parent.mkdir(exist_ok=True)
        noise = rng.integers(256, size=(20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    for name, image in files.items():
        path = (
            tmp_path
            / 'photos'
            / name.replace('__', '/')
            .replace('_png', '.png')
            .replace('_jpg', '.jpg')
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=str(tmp_path / 'photos'),
            pipeline=[LOAD],
        )
    )


NOISE = Image.effect_noise((20, 20), 90).convert('RGB')
FLAT = Image.fromarray(np.eye(20, dtype=np.uint8))


@pytest.mark.parametrize(
    'files, words',
    [
        (dict(a_jpg=NOISE, a_png=NOISE), 'but for the suffix'),
        (dict(x_mask_png=NOISE), 'named like masks'),
        (dict(x_labelIds_png=NOISE), 'named like masks'),
        (dict(masks__7_png=NOISE), 'named like masks'),
        (dict(q_png=FLAT), 'few flat colors'),
        (dict(q_png=FLAT.convert('P')), 'few flat colors'),
        (
            dict(q_png=Image.fromarray(np.eye(20, dtype=np.uint16))),
            'few flat colors',
        ),
    ],
)
def test_masks_among_the_photos_are_named(tmp_path, files, words):
    (warning,) = photo_warnings(photos(tmp_path, **files))
    assert words in warning and 'take them out' in warning
    assert warning.startswith('1 of the unlabeled images')


def test_three_masks_are_named_and_photos_are_not(root, tmp_path):
    assert not [
        *photo_warnings(
            photos(
                tmp_path,
                unmasked_png=NOISE,
                labelmaker_shop_png=NOISE,
                gtx__1_png=NOISE,
            )
        )
    ]
    both = DATASETS.build(
        dict(type='UnlabeledFolder', images=str(root), pipeline=[LOAD])
    )
    warnings = [*photo_warnings(both, built(root))]
    assert 'are masks of other images' in warnings[0]
    assert warnings[0].count('.png') == 3 and '6 of' in warnings[0]


# depth and channels


def deep(root, tmp_path, dtype=np.uint16, channels=3):
    data = copy_of(root, tmp_path)
    for path in (data / 'images').iterdir():
        image = np.array(Image.open(path)).astype(dtype)
        if channels > 3:
            image = np.dstack([image, image[..., : channels - 3]])
        image = image[..., 0] if channels == 1 else image
        path.unlink()
        if dtype == np.uint16:
            image *= 20
        np.save(path.with_suffix('.npy'), image)
    return data


def load_numpy(results):
    img = np.load(results['img_path'])
    results.update(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2])


NUMPY = transform('LoadNumpy', load_numpy)
JITTER = dict(type='ColorJitter', saturation=0, hue=0)
TO_8_BITS = on_image('To8Bits', lambda x: (x / 24).astype(np.uint8))


@pytest.mark.parametrize(
    'kind, steps, named',
    [
        (
            'deep',
            [dict(type='RandomGrayscale', prob=0.2, keep_channels=True)],
            'RandomGrayscale',
        ),
        (
            'deep',
            [dict(type='PhotoMetricDistortion')],
            'PhotoMetricDistortion',
        ),
        ('deep', [dict(type='ColorJitter')], 'ColorJitter'),
        ('deep', [on_image('Wrap', lambda x: x.astype(np.uint8))], 'Wrap'),
        ('deep', [on_image('Cut', lambda x: x.clip(0, 255))], 'Cut'),
        ('gray', [dict(type='ColorJitter', hue=0)], 'ColorJitter'),
        ('bands', [dict(type='RandomGrayscale', prob=0.2)], 'RandomGrayscale'),
        ('deep', [JITTER, dict(type='RandomGaussianBlur', prob=1.0)], None),
        ('deep', [TO_8_BITS, dict(type='ColorJitter')], None),
        (
            'deep',
            [on_image('Inverse', lambda x: 6000 - x.clip(0, 6000))],
            None,
        ),
        ('gray', [JITTER, dict(type='RandomGaussianBlur', prob=1.0)], None),
        ('bands', [JITTER, dict(type='RandomGaussianBlur', prob=1.0)], None),
    ],
)
def test_transforms_that_do_not_suit_the_images_are_named(
    root, tmp_path, kind, steps, named
):
    data = deep(
        root,
        tmp_path,
        *dict(deep=(np.uint16, 3), gray=(np.uint8, 1), bands=(np.uint8, 4))[
            kind
        ],
    )
    load = [NUMPY, CROP]
    dataset = pairs(
        data,
        labeled=stock(root, [LOAD, MASK, CROP, PACK]),
        unlabeled={
            **stock(data, [*load, views(*steps)]),
            'img_suffix': '.npy',
        },
    )
    found = [*step_problems('unlabeled', dataset.unlabeled)]
    if named is None:
        assert not found and not [*view_problems(dataset.unlabeled)]
        assert dataset[0, 0, (0,)]['strong']['inputs'].shape[1:] == (64, 64)
    else:
        (problem,) = found
        assert problem.startswith(f'{named} in the unlabeled pipeline')
        assert 'ake it out' in problem


def test_labeled_pipelines_are_looked_at_too(root, tmp_path):
    data = deep(root, tmp_path)
    labeled = {
        **stock(
            data, [NUMPY, MASK, CROP, dict(type='PhotoMetricDistortion'), PACK]
        ),
        'img_suffix': '.npy',
    }
    (problem,) = problems(root, labeled=labeled)
    assert problem.startswith('PhotoMetricDistortion in the labeled')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize('shape', [(9, 8), (9, 8, 1), (9, 8, 2), (9, 8, 5)])
def test_jitter_and_blur_keep_kind_and_meaning(dtype, shape):
    img = (np.arange(np.prod(shape)).reshape(shape) % 90 + 20).astype(dtype)
    np.random.seed(1)
    for _ in range(5):
        out = ColorJitter(0.5, 0, 0, 0, prob=1.0)(dict(img=img))['img']
        assert out.dtype == dtype and out.shape == shape
        factor = out.mean() / img.mean()
        assert 0.48 < factor < 1.52
        np.testing.assert_allclose(out, img * factor, atol=1.1)
        out = ColorJitter(0, 0.5, 0, 0, prob=1.0)(dict(img=img))['img']
        assert abs(out.mean() - img.mean()) < 1.1
        factor = out.std() / img.std()
        assert 0.45 < factor < 1.55
        out = RandomGaussianBlur((1.0, 1.1), prob=1.0)(dict(img=img))['img']
        assert out.dtype == dtype and out.shape == shape
        assert out.std() < img.std()


def test_what_is_too_bright_is_cut_off_and_not_wrapped():
    img = np.full((4, 4), 60000, np.uint16)
    np.random.seed(0)
    values = {
        int(ColorJitter(1.0, 0, 0, 0, prob=1.0)(dict(img=img))['img'].max())
        for _ in range(20)
    }
    assert max(values) == 65535 and len(values) > 5


@pytest.mark.parametrize(
    'shape, dtype',
    [((4, 4), np.uint8), ((4, 4, 3), np.uint16), ((4, 4, 4), np.uint8)],
)
def test_saturation_and_hue_say_what_they_need(shape, dtype):
    img = np.zeros(shape, dtype)
    for options in (dict(hue=0), dict(saturation=0)):
        with pytest.raises(ValueError, match='8-bit color.*saturation=0'):
            ColorJitter(**options)(dict(img=img))
    ColorJitter(saturation=0, hue=0)(dict(img=img))  # the remedy
    ColorJitter(prob=0.0)(dict(img=img))


# memory


def test_bytes_in_flight_are_bounded():
    budget, lock, now, most = Budget(100), threading.Lock(), [0], [0]

    def work(size):
        with budget.spend(size):
            with lock:
                now[0] += min(size, 100)
                most[0] = max(most[0], now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= min(size, 100)

    in_threads(work, [40, 70, 10, 500, 30, 60] * 10)
    assert 70 < most[0] <= 100 and budget.free == 100


@pytest.mark.parametrize('kind', ['folder', 'stock'])
def test_the_first_look_at_images_is_bounded(root, monkeypatch, kind):
    lock, now, most = threading.Lock(), [0], [0]

    def slow(results):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    pipeline = [LOAD, MASK] if kind == 'stock' else [LOAD]
    load = TRANSFORMS.build(LOAD)

    @TRANSFORMS.register_module(force=True)
    class SlowLoad:
        def __call__(self, results):
            slow(results)
            return load(results)

    pipeline[0] = dict(type='SlowLoad')
    bytes_of_one = 16 * max(
        path.stat().st_size for path in (root / 'images').iterdir()
    )
    for images_at_once in (1, 2):
        monkeypatch.setattr(
            images, 'DECODING', Budget(images_at_once * bytes_of_one)
        )
        most[0] = 0
        if kind == 'folder':
            DATASETS.build(folder(root, pipeline))
        else:
            scan_all('labeled', built(root, [*pipeline, PACK]))
        assert 0 < most[0] <= images_at_once


# words that are spelled alike


@pytest.mark.parametrize(
    'cfg, meant',
    [
        (dict(type='UnlabledFolder', images='x'), 'UnlabeledFolder'),
        (dict(type='SemiSegDatset'), 'SemiSegDataset'),
        (dict(type='BaseSegDataset', img_sufix='.png'), 'img_suffix'),
        (dict(type='UnlabeledFolder', image='x', pipeline=[]), 'images'),
        (
            dict(type='BaseSegDataset', pipeline=[dict(type='RandomFlipp')]),
            'RandomFlip',
        ),
        (
            dict(
                type='BaseSegDataset',
                lazy_init=True,
                pipeline=[dict(type='ColorJitter', brightnes=1.0)],
            ),
            'brightness',
        ),
    ],
)
def test_misspelled_types_and_options(cfg, meant):
    with pytest.raises((KeyError, TypeError)) as error:
        DATASETS.build(cfg)
    assert did_you_mean(error.value) == f'Did you mean {meant!r}?'


def test_nothing_is_meant_where_nothing_is_alike():
    for cfg in (dict(type='Qwertz'), dict(type='BaseSegDataset', zzz=1)):
        with pytest.raises((KeyError, TypeError)) as error:
            DATASETS.build(cfg)
        assert did_you_mean(error.value) == ''
    assert did_you_mean(ValueError('no images')) == ''
