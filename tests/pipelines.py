"""Data sets and transforms to try pipelines with."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import DATASETS, TRANSFORMS
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_psmt.datasets.checks import pipeline_problems

register_all_modules()
LOAD, MASK = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
PACK = dict(type='PackSegInputs')
CROP = dict(type='RandomCrop', crop_size=(64, 64))
FLIP = dict(type='RandomFlip', prob=0.5)
COLORS = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
META = dict(classes=('ground', 'disc', 'square'), palette=COLORS)


def transform(name, change):
    """Register a transform that is a function of the results."""

    def call(self, results):
        change(results)
        return results

    TRANSFORMS.register_module(
        name=name,
        force=True,
        module=type(name, (BaseTransform,), dict(transform=call)),
    )
    return dict(type=name)


def on_image(name, change):
    """Register a transform that changes the image and no mask."""
    return transform(name, lambda r: r.update(img=change(r['img'])))


def on_all(name, change):
    """Register a transform that changes image and masks alike."""

    def both(results):
        for key in ['img', *results['seg_fields']]:
            results[key] = change(results[key])

    return transform(name, both)


def draw(root):
    """Six images of 90 x 100 pixels, a to f, with masks of three classes."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for name in 'abcdef':
        mask = cv2.resize(
            rng.integers(3, size=(4, 5), dtype=np.uint8),
            (100, 90),
            interpolation=cv2.INTER_NEAREST,
        )
        image = mask[..., None] * 80 + rng.integers(60, size=(90, 100, 3))
        Image.fromarray(mask).save(root / f'masks/{name}.png')
        Image.fromarray(image.astype(np.uint8)).save(
            root / f'images/{name}.png'
        )
    return root


def stock(root, pipeline, **options):
    return dict(
        type='BaseSegDataset',
        img_suffix='.png',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=META,
        pipeline=pipeline,
        **options,
    )


def folder(root, pipeline):
    return dict(
        type='UnlabeledFolder', images=str(root / 'images'), pipeline=pipeline
    )


def views(*strong, weak=()):
    return dict(type='MultiView', weak=[*weak, PACK], strong=[*strong, PACK])


def pairs(root, labeled=None, unlabeled=None):
    return DATASETS.build(
        dict(
            type='SemiSegDataset',
            labeled=labeled or stock(root, [LOAD, MASK, CROP, FLIP, PACK]),
            unlabeled=unlabeled or folder(root, [LOAD, CROP, FLIP, views()]),
        )
    )


def problems(root, **parts):
    return [*pipeline_problems(pairs(root, **parts))]


ROTATE = dict(type='RandomRotate', prob=0.2, degree=(30, 90))
