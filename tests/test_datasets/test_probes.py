"""What transforms do to pixels, found without knowing their names."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from pipelines import (
    CROP,
    FLIP,
    LOAD,
    MASK,
    PACK,
    ROTATE,
    draw,
    folder,
    on_all,
    on_image,
    pairs,
    problems,
    stock,
    transform,
    views,
)

from mmseg_psmt.datasets.checks import pipeline_problems
from mmseg_psmt.datasets.probes import mask_problems, view_problems
from mmseg_psmt.models import SemiSegDataPreProcessor


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return draw(tmp_path_factory.mktemp('root'))


def sometimes(prob, change):
    def call(img):
        return change(img) if np.random.rand() < prob else img

    return call


def erased(img):
    y, x = np.random.randint(img.shape[0]), np.random.randint(img.shape[1])
    img = img.copy()
    img[y : y + 30, x : x + 30] = 7
    return img


def noisy(img):
    noise = np.random.normal(0, 40, img.shape)
    return (img + noise).clip(0, 255).astype(np.uint8)


MOVING = {
    'RandomRotate': ROTATE,
    'RandomFlip': FLIP,
    'Resize': dict(type='Resize', scale=(32, 32)),
    'CenterCrop': dict(type='CenterCrop', crop_size=40),
    'RandomCrop': dict(type='RandomCrop', crop_size=(60, 60)),
    'RandomApply (RandomFlip)': dict(
        type='RandomApply', transforms=[FLIP], prob=0.3
    ),
    'RandomChoice (ColorJitter, RandomFlip)': dict(
        type='RandomChoice', transforms=[[dict(type='ColorJitter')], [FLIP]]
    ),
    'Rolled': on_all('Rolled', lambda x: np.roll(x, 3, 1)),
    'RareTurn': on_all(
        'RareTurn',
        sometimes(0.1, lambda x: np.ascontiguousarray(x[::-1, ::-1])),
    ),
    # these know of no masks
    'Mirror': on_image('Mirror', lambda x: x[:, ::-1].copy()),
    'Half': on_image('Half', lambda x: np.roll(x, x.shape[0] // 2, 0)),
    'Lens': on_image(
        'Lens', lambda x: mmcv.imrescale(x, 2.0)[: x.shape[0], : x.shape[1]]
    ),
}


def moved(root, *strong, weak=()):
    """What is said of such views."""
    dataset = pairs(
        root, unlabeled=folder(root, [LOAD, CROP, views(*strong, weak=weak)])
    )
    return [*view_problems(dataset.unlabeled)]


@pytest.mark.parametrize('name', MOVING)
def test_what_moves_pixels_in_one_view_is_named(root, name):
    (problem,) = moved(root, dict(type='ColorJitter'), MOVING[name])
    assert problem.startswith(f"{name} in view 'strong'")
    assert 'before MultiView' in problem


@pytest.mark.parametrize('name', ['RandomRotate', 'RareTurn', 'Mirror'])
def test_the_weak_view_may_not_move_either(root, name):
    (problem,) = moved(root, weak=[MOVING[name]])
    assert problem.startswith(f"{name} in view 'weak'")


STILL = [
    dict(type='ColorJitter', prob=1.0),
    dict(
        type='ColorJitter',
        brightness=1.0,
        contrast=1.0,
        saturation=1.0,
        hue=0.5,
        prob=1.0,
    ),
    dict(type='RandomGrayscale', prob=0.5, keep_channels=True),
    dict(type='RandomGaussianBlur', sigma=(2.0, 3.0), prob=1.0),
    dict(type='PhotoMetricDistortion'),
    dict(type='CLAHE'),
    dict(type='AdjustGamma', gamma=2.5),
    dict(type='RGB2Gray'),
    dict(type='RandomCutOut', prob=1.0, n_holes=(1, 5), cutout_shape=(20, 20)),
    dict(
        type='RandomCutOut',
        prob=1.0,
        n_holes=(1, 5),
        cutout_shape=(20, 20),
        seg_fill_in=255,
    ),
    dict(
        type='RandomCutOut',
        prob=1.0,
        n_holes=3,
        cutout_shape=(20, 20),
        seg_fill_in=0,
    ),
    dict(type='RandomFlip', prob=0.0),
    dict(type='Resize', scale=(64, 64)),
    dict(type='CenterCrop', crop_size=(64, 64)),
    on_image('Erase', erased),
    on_image('Noise', noisy),
    on_image('Solarize', lambda x: np.where(x < 128, x, 255 - x)),
    on_image('Invert', lambda x: 255 - x),
    on_image('Posterize', lambda x: x & 128),
    on_image('Equalize', mmcv.imequalize),
    on_image(
        'Jpeg',
        lambda x: cv2.imdecode(
            cv2.imencode('.jpg', x, [cv2.IMWRITE_JPEG_QUALITY, 5])[1], 1
        ),
    ),
    on_image('Shuffle', lambda x: x[..., np.random.permutation(3)]),
    on_image('Black', sometimes(0.1, np.zeros_like)),
]


@pytest.mark.parametrize('step', STILL, ids=lambda step: step['type'])
def test_what_changes_colors_or_erases_is_fine(root, step):
    dataset = pairs(
        root,
        labeled=stock(root, [LOAD, MASK, CROP, FLIP, step, PACK]),
        unlabeled=folder(root, [LOAD, CROP, FLIP, views(step)]),
    )
    assert not [*view_problems(dataset.unlabeled)]
    assert not [*mask_problems(dataset.labeled)]


@pytest.mark.parametrize(
    'step',
    [
        FLIP,
        ROTATE,
        MOVING['Rolled'],
        MOVING['Resize'],
        dict(
            type='RandomResize',
            scale=(100, 90),
            ratio_range=(0.5, 2.0),
            keep_ratio=True,
        ),
        dict(type='Pad', size=(120, 120)),
    ],
    ids=lambda step: step['type'],
)
def test_what_moves_all_is_fine_before_the_views(root, step):
    assert not problems(
        root,
        labeled=stock(root, [LOAD, MASK, step, CROP, PACK]),
        unlabeled=folder(root, [LOAD, step, CROP, views()]),
    )
    # labeled views are compared with their own masks alone
    assert not problems(
        root,
        labeled=stock(
            root,
            [
                LOAD,
                MASK,
                CROP,
                dict(
                    type='MultiView', labeled=[step, PACK], labeled_weak=[PACK]
                ),
            ],
        ),
    )


@pytest.mark.parametrize('name', ['Mirror', 'Half', 'Lens'])
def test_a_labeled_image_that_leaves_its_mask_behind_is_named(root, name):
    dataset = pairs(
        root,
        labeled=stock(root, [LOAD, MASK, CROP, MOVING[name], PACK]),
        # without labels all views move alike
        unlabeled=folder(root, [LOAD, MOVING[name], CROP, views()]),
    )
    (problem,) = mask_problems(dataset.labeled)
    assert problem.startswith(f'{name} in the labeled')
    assert not [*view_problems(dataset.unlabeled)]


def batch_of(dataset, indices=(0, 1, 2), **options):
    items = [dataset[0, i, (0, i)] for i in indices]
    return SemiSegDataPreProcessor(size=(64, 64), **options)(
        pseudo_collate(items), training=True
    )


def filled(img):
    """Black, where the images of the fixture are almost never."""
    return (img == 0).all(0)


SHIFT = transform(
    'Shift',
    lambda r: r.update(
        {
            key: np.concatenate([np.full_like(r[key][:9], fill), r[key][:-9]])
            for key, fill in [('img', 0), *((k, 255) for k in r['seg_fields'])]
        }
    ),
)
FILLING = {
    'RandomRotate': dict(type='RandomRotate', prob=1.0, degree=(40, 41)),
    'Pad': dict(type='Pad', size=(130, 140)),
    'Shift': SHIFT,
}


@pytest.mark.parametrize('name', FILLING)
@pytest.mark.parametrize('kind', ['folder', 'plain', 'with masks'])
def test_what_a_transform_fills_is_not_valid(root, name, kind):
    load = [LOAD, MASK] if kind == 'with masks' else [LOAD]
    crop = dict(type='CenterCrop', crop_size=(130, 130))
    pipeline = [*load, FILLING[name], crop, views()]
    unlabeled = (folder if kind == 'folder' else stock)(root, pipeline)
    dataset = pairs(root, unlabeled=unlabeled)
    items = [dataset[0, i, (0, i)] for i in range(3)]
    batch = SemiSegDataPreProcessor(size=(130, 130))(
        pseudo_collate(items), training=True
    )
    valid = batch['inputs']['valid']
    for item, mask in zip(items, valid):
        img = item['weak']['inputs']
        black = filled(img)
        inside = mask[: img.shape[1], : img.shape[2]]
        # bilinear edges are gray
        core = torch.from_numpy(
            cv2.erode(black.numpy().astype(np.uint8), np.ones((3, 3)))
        ).bool()
        assert core.sum() > 300
        assert not inside[core].any()
        assert (~inside).sum() < 1.2 * black.sum() + 60
    assert 0.3 < valid.float().mean() < 0.97


def test_all_is_valid_where_nothing_is_filled(root):
    for unlabeled in (
        folder(root, [LOAD, CROP, FLIP, views()]),
        stock(root, [LOAD, MASK, CROP, FLIP, views()]),
    ):
        assert batch_of(pairs(root, unlabeled=unlabeled))['inputs'][
            'valid'
        ].all()


def test_masks_of_unlabeled_images_serve_the_metrics_alone(root, tmp_path):
    for name in 'abc':
        mask = np.array(Image.open(root / f'masks/{name}.png'))
        mask[:20] = 255
        (tmp_path / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f'masks/{name}.png')
    (tmp_path / 'images').symlink_to(root / 'images')
    (tmp_path / 'list.txt').write_text('a\nb\nc\n')
    dataset = pairs(
        root,
        unlabeled=stock(tmp_path, [LOAD, MASK, views()], ann_file='list.txt'),
    )
    for i, name in enumerate('abc'):
        sample = dataset[0, i, (0,)]['weak']['data_samples']
        mask = np.array(Image.open(tmp_path / f'masks/{name}.png'))
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], mask)
        assert 'valid' not in sample


def test_a_part_of_the_photos_can_be_excluded(root):
    def stamp(results):
        results['gt_seg_map'][:10, :30] = 255

    dataset = pairs(
        root,
        unlabeled=folder(
            root, [LOAD, transform('NoStamp', stamp), FLIP, views()]
        ),
    )
    batch = pseudo_collate([dataset[0, i % 6, (1, i)] for i in range(12)])
    valid = SemiSegDataPreProcessor(size=(90, 100))(batch, training=True)[
        'inputs'
    ]['valid']
    sides = {(bool(v[0, 0]), bool(v[0, -1])) for v in valid}
    assert sides == {(False, True), (True, False)}  # flipped or not
    assert ((~valid).sum((1, 2)) == 300).all()


def test_padding_of_the_recipe_is_valid_but_not_what_is_excluded(root):
    def stamp(results):
        results['gt_seg_map'][:10] = 255

    dataset = pairs(
        root,
        unlabeled=folder(root, [LOAD, transform('NoTop', stamp), views()]),
    )
    valid = SemiSegDataPreProcessor(size=(100, 100), mask_padding=False)(
        pseudo_collate([dataset[0, 0, (0,)]]), True
    )['inputs']['valid']
    assert valid[0, 10:].all() and not valid[0, :10].any()


def test_a_transform_that_knows_of_no_masks_still_works(root):
    half = on_image('Top', lambda x: x[:45])
    batch = batch_of(
        pairs(root, unlabeled=folder(root, [LOAD, half, views()]))
    )
    assert batch['inputs']['valid'][:, :45].all()
    assert not batch['inputs']['valid'][:, 45:].any()


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomRotate', prob=1.0, degree=40.0, seg_pad_val=0),
        dict(type='RandomRotate', prob=0.1, degree=40.0, seg_pad_val=0),
        dict(type='RandomRotate', prob=1.0, degree=40.0, seg_pad_val=2),
        dict(type='Pad', size=(200, 200), pad_val=dict(img=0, seg=0)),
    ],
    ids=lambda step: f'{step["type"]} {step.get("prob")}',
)
def test_a_fill_that_passes_for_image_is_named(root, step):
    found = problems(root, unlabeled=folder(root, [LOAD, step, views()]))
    assert len(found) == 1 and found[0].startswith(step['type'])
    value = step.get('seg_pad_val', 0)
    assert f'with {value}' in found[0] and '255' in found[0]


def mixed(dataset, *steps):
    mosaic = dict(type='RandomMosaic', prob=1.0, img_scale=(80, 80))
    return dict(
        type='MultiImageMixDataset', dataset=dataset, pipeline=[mosaic, *steps]
    )


def test_a_mosaic_works_in_both_parts(root):
    dataset = pairs(
        root,
        labeled=mixed(stock(root, [LOAD, MASK]), CROP, PACK),
        unlabeled=mixed(folder(root, [LOAD]), CROP, FLIP, views()),
    )
    assert not [*pipeline_problems(dataset)]
    for i in range(40):  # RandomMosaic asks for one image too many at times
        item = dataset[i % 6, i % 6, (0, i)]
        assert item['labeled']['inputs'].shape == (3, 64, 64)
        black = filled(item['weak']['inputs'])
        sample = item['weak']['data_samples']
        invalid = (
            ~sample.valid.data[0]
            if 'valid' in sample
            else torch.zeros(64, 64, dtype=torch.bool)
        )
        assert (invalid & ~black).sum() < 20
    found = [
        *pipeline_problems(
            pairs(
                root, unlabeled=mixed(folder(root, [LOAD]), CROP, views(FLIP))
            )
        )
    ]
    assert len(found) == 1 and "RandomFlip in view 'strong'" in found[0]


def test_a_folder_and_a_data_set_are_unlabeled_together(root):
    both = [
        folder(root, [LOAD, CROP, views()]),
        stock(root, [LOAD, MASK, CROP, views()]),
    ]
    for order in (both, both[::-1]):
        dataset = pairs(
            root, unlabeled=dict(type='ConcatDataset', datasets=order)
        )
        assert len(dataset) == 12
        assert not [*pipeline_problems(dataset)]
        kinds = [
            'gt_sem_seg' in dataset[0, i, (0,)]['weak']['data_samples']
            for i in (0, 11)
        ]
        assert kinds == [part['type'] != 'UnlabeledFolder' for part in order]
