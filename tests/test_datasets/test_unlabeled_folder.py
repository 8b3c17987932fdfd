"""Images without masks: what is found, what is broken, what it mixes with."""

import json
import logging
import multiprocessing
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch.distributed as dist
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmseg.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_psmt.datasets import UnlabeledFolder, unlabeled_folder
from mmseg_psmt.datasets.images import in_threads
from mmseg_psmt.models import SemiSegDataPreProcessor

register_all_modules()
LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackSegInputs')
VIEWS = dict(type='MultiView', weak=[PACK], strong=[PACK])


def save(path, value=0, size=(12, 10), kind=None):
    """A flat image of one grey value; size is height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path, kind)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Seven images in three folders, below the working directory."""
    names = (
        'a.jpg',
        'b.JPEG',
        'c.png',
        'sub/d.BMP',
        'sub/e.tif',
        'sub/deep/f.TIFF',
        'sub/deep/g.webp',
    )
    for i, name in enumerate(names):
        save(tmp_path / 'photos' / name, 30 * i, size=(12 + i, 10))
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'photos'


def build(images='photos', pipeline=(LOAD,), **options):
    return DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=images,
            pipeline=list(pipeline),
            **options,
        )
    )


def names(dataset):
    """File names, in the order of the data set."""
    return [
        Path(dataset.get_data_info(i)['img_path']).name
        for i in range(len(dataset))
    ]


class Words(logging.Handler):
    """Keeps what mmengine logs."""

    def __init__(self):
        super().__init__()
        self.warnings, self.notes = [], []

    def emit(self, record):
        kept = self.warnings if record.levelname == 'WARNING' else self.notes
        kept.append(record.getMessage())


@pytest.fixture
def log():
    logger, words = MMLogger.get_current_instance(), Words()
    level = logger.level
    logger.setLevel('INFO')
    logger.addHandler(words)
    yield words
    logger.removeHandler(words)
    logger.setLevel(level)


def test_a_folder_is_searched_for_every_suffix_in_any_case(photos):
    dataset = build()
    assert names(dataset) == [
        'a.jpg',
        'b.JPEG',
        'c.png',
        'd.BMP',
        'f.TIFF',
        'g.webp',
        'e.tif',
    ]
    assert dataset[2]['img'].shape == (14, 10, 3)
    assert (dataset[2]['img'] == 60).all()


@pytest.mark.parametrize(
    'images, found',
    [
        ('photos/sub', 'dfge'),
        ('photos/*.*[gG]', 'abc'),
        ('photos/**/*.[tT]*', 'fe'),
        ('ph*/su*', 'dfge'),
        ('photos/c.png', 'c'),
        (['photos/c.png', 'photos/sub/deep', 'photos/a.jpg'], 'acfg'),
        (('photos/c.png',), 'c'),
    ],
)
def test_folders_patterns_files_and_several_of_them(photos, images, found):
    assert ''.join(Path(name).stem for name in names(build(images))) == found


@pytest.mark.parametrize('root', ['photos', 'ph[o]tos'])
def test_everything_is_relative_to_the_data_root(photos, root):
    photos = photos.rename(root)
    (photos / 'list.txt').write_text('sub/d.BMP\n\na.jpg\n')
    for images, found in (
        ('sub/deep', ['f.TIFF', 'g.webp']),
        ('*.png', ['c.png']),
        ('list.txt', ['a.jpg', 'd.BMP']),
        (str(photos.resolve() / 'a.jpg'), ['a.jpg']),
    ):
        assert names(build(images, data_root=root)) == found


def test_a_list_is_relative_to_the_working_directory_without_a_root(photos):
    (photos / 'list.txt').write_text('photos/c.png\nphotos/a.jpg\n')
    assert names(build('photos/list.txt')) == ['a.jpg', 'c.png']


def test_a_list_that_names_a_missing_file_is_refused(photos):
    (photos / 'list.txt').write_text('photos/a.jpg\nphotos/c\n')
    with pytest.raises(
        FileNotFoundError, match='photos/c of line 2 in .*list.txt'
    ):
        build('photos/list.txt')


def test_every_image_counts_once(photos):
    (photos / 'link.jpg').symlink_to(photos / 'a.jpg')
    (photos / 'again').symlink_to(photos / 'sub')
    images = ['photos', './photos/a.jpg', str(photos), 'photos/*']
    assert sorted(Path(name).stem for name in names(build(images))) == list(
        'abcdefg'
    )


def test_other_files_are_counted_and_hidden_ones_passed_over(photos, log):
    for name in (
        'x.gif',
        'sub/y.GIF',
        'list.txt',
        'noise',
        '._a.jpg',
        '.thumbs/a.jpg',
    ):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text('no image')
    assert len(build()) == 7
    (note,) = log.notes
    assert '7 unlabeled images in photos' in note
    for count in ('2 of .gif', '1 of .txt', '1 of none'):
        assert count in note
    assert '.jpg' not in note and not log.warnings


@pytest.mark.parametrize(
    'images, named',
    [
        ('gone', 'gone holds'),
        ('photos/*.gif', r'photos/\*.gif holds'),
        ('photos/empty', 'photos/empty holds'),
        ('photos/notes.md', 'notes.md holds'),
        ('photos/empty.txt', 'empty.txt holds'),
        (['photos', 'gone'], 'gone holds'),
    ],
)
def test_nothing_found_is_named(photos, images, named):
    (photos / 'empty').mkdir()
    (photos / 'notes.md').write_text('no image')
    (photos / 'empty.txt').write_text('\n')
    with pytest.raises(FileNotFoundError, match=f'{named} no image.*.webp'):
        build(images)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    'name', ['a.jpg', 'c.png', 'sub/d.BMP', 'sub/e.tif', 'sub/deep/g.webp']
)
def test_a_truncated_image_is_dropped_with_a_warning(photos, log, name):
    cut(photos / name)
    dataset = build()
    assert len(dataset) == 6 and Path(name).name not in names(dataset)
    (warning,) = log.warnings
    assert '1 of 7 unlabeled images are broken, 6 remain' in warning
    assert f'photos/{name}: ' in warning


def test_every_broken_image_is_named_with_its_reason(photos, log):
    (photos / 'a.jpg').write_bytes(b'')
    (photos / 'c.png').write_text('<html>404</html>')
    (photos / 'sub/h.png').symlink_to(photos / 'gone.png')
    assert names(build()) == ['b.JPEG', 'd.BMP', 'f.TIFF', 'g.webp', 'e.tif']
    (warning,) = log.warnings
    assert '3 of 8' in warning and '5 remain' in warning
    for name in ('a.jpg', 'c.png', 'sub/h.png'):
        assert f'\n  photos/{name}: ' in warning
    assert 'FileNotFoundError' in warning


@TRANSFORMS.register_module()
class LoadGrey:
    """Like OpenCV 4 on a truncated JPEG: an image, whatever the file."""

    def __call__(self, results):
        return dict(results, img=np.full((5, 6, 3), 128, np.uint8))


def test_a_truncated_image_is_found_where_the_loader_is_silent(photos, log):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3))
    Image.fromarray(noise.astype(np.uint8)).save(photos / 'a.jpg')
    assert len(build(pipeline=[dict(type='LoadGrey')])) == 7
    cut(photos / 'a.jpg')
    assert len(build(pipeline=[dict(type='LoadGrey')])) == 6
    assert 'image file is truncated' in log.warnings[0]


def test_what_the_loader_cannot_read_is_broken_though_pil_can(photos, log):
    save(photos / 'pcx.png', kind='PCX')
    with Image.open(photos / 'pcx.png') as image:
        image.load()
    assert len(build()) == 7
    assert 'photos/pcx.png: ' in log.warnings[0]
    pillow = dict(LOAD, imdecode_backend='pillow')
    assert len(build(pipeline=[pillow])) == 8


def test_what_the_loader_can_read_is_kept_though_pil_cannot(photos, log):
    done, content = cv2.imencode('.hdr', np.ones((4, 6, 3), np.float32))
    (photos / 'radiance.tif').write_bytes(content.tobytes())
    with pytest.raises(OSError):
        Image.open(photos / 'radiance.tif')
    dataset = build('photos/radiance.tif')
    assert dataset[0]['img'].shape == (4, 6, 3) and not log.warnings


def test_broken_images_can_be_refused(photos):
    cut(photos / 'a.jpg')
    cut(photos / 'sub/e.tif')
    with pytest.raises(ValueError) as error:
        build(broken='refuse')
    for word in ('2 of 7', 'photos/a.jpg', 'photos/sub/e.tif', "'skip'"):
        assert word in str(error.value)


def test_all_broken_is_an_error_of_its_own(photos):
    cut(photos / 'a.jpg')
    with pytest.raises(ValueError, match='1 of 1 .* 0 remain.*\n.*a.jpg'):
        build('photos/a.jpg')


@pytest.mark.parametrize(
    'options, match',
    [
        (dict(broken='drop'), "'skip' or 'refuse', got 'drop'"),
        (dict(images=[]), 'empty'),
        (
            dict(pipeline=[LOAD, dict(type='LoadAnnotations'), VIEWS]),
            'LoadAnnotations needs masks',
        ),
        (
            dict(
                pipeline=[
                    LOAD,
                    dict(
                        type='MultiView',
                        weak=[dict(type='LoadAnnotations'), PACK],
                    ),
                ]
            ),
            'LoadAnnotations needs masks',
        ),
        (
            dict(
                pipeline=[
                    LOAD,
                    dict(
                        type='RandomCrop', crop_size=(8, 8), cat_max_ratio=0.75
                    ),
                ]
            ),
            'cat_max_ratio needs masks',
        ),
    ],
)
def test_silly_options_are_refused_before_anything_is_read(options, match):
    with pytest.raises(ValueError, match=match):
        build(**{'images': 'gone', **options})


def semi(root, unlabeled):
    """With two labeled images of two classes, grey 1 and 2."""
    mask = Image.fromarray(np.eye(8, 10, dtype=np.uint8), 'P')
    mask.putpalette([0, 0, 0, 128, 0, 0])
    for i in (1, 2):
        save(root / f'images/{i}.png', i, (8, 10))
        (root / 'masks').mkdir(exist_ok=True)
        mask.save(root / f'masks/{i}.png')
    labeled = dict(
        type='BaseSegDataset',
        img_suffix='.png',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(
            classes=('ground', 'shape'), palette=[[0, 0, 0], [128, 0, 0]]
        ),
        pipeline=[LOAD, dict(type='LoadAnnotations'), PACK],
    )
    return DATASETS.build(
        dict(type='SemiSegDataset', labeled=labeled, unlabeled=unlabeled)
    )


UNLABELED = dict(
    type='UnlabeledFolder', images='photos', pipeline=[LOAD, VIEWS]
)


def test_it_pairs_with_labeled_images_and_makes_batches(photos):
    cut(photos / 'c.png')
    dataset = semi(photos.parent, UNLABELED)
    assert dataset.metainfo['classes'] == ('ground', 'shape')
    assert len(dataset) == 6
    sampler = DATA_SAMPLERS.build(
        dict(type='PairSampler', shuffle=False, seed=0),
        default_args=dict(dataset=dataset),
    )
    pairs = [pair for pair, _ in zip(sampler, range(6))]
    batch = SemiSegDataPreProcessor(size=(20, 16))(
        pseudo_collate([dataset[pair] for pair in pairs]), training=True
    )
    weak, valid = batch['inputs']['weak'], batch['inputs']['valid']
    greys = [0, 30, 90, 150, 180, 120]
    for i, height in enumerate((12, 13, 15, 17, 18, 16)):
        assert valid[i, :height, :10].all()
        assert valid[i].sum() == height * 10
        assert abs(weak[i, :, 5, 5] - greys[i]).max() <= 2
    assert batch['inputs']['labeled'][:, 0, 5, 5].tolist() == [1, 2] * 3


def test_no_image_is_decoded_twice(photos, monkeypatch):
    seen = []

    def decode(leaf, info):
        seen.append(Path(info['img_path']).stem)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(unlabeled_folder, 'decode', decode)
    part = dict(type='ConcatDataset', datasets=[UNLABELED])
    assert len(semi(photos.parent, part)) == 7
    assert sorted(seen) == list('abcdefg')


def test_it_mixes_with_unlabeled_lists_of_the_same_classes(photos):
    metainfo = dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]])
    stock = dict(
        type='BaseSegDataset',
        data_prefix=dict(img_path='photos'),
        metainfo=metainfo,
        pipeline=[LOAD, VIEWS],
    )
    both = dict(
        type='ConcatDataset',
        datasets=[stock, dict(UNLABELED, metainfo=metainfo)],
    )
    assert len(semi(photos.parent, both)) == 1 + 7


def of_rank(rank, folder):
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=2
    )
    seen, decode = [], unlabeled_folder.decode

    def noted(leaf, info):
        seen.append(info['img_path'])
        return decode(leaf, info)

    unlabeled_folder.decode = noted
    dataset = UnlabeledFolder('photos', [LOAD])
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    (folder / f'{rank}.json').write_text(
        json.dumps(
            [
                seen,
                [
                    [Path(info['img_path']).name, info['height']]
                    for info in infos
                ],
            ]
        )
    )
    dist.destroy_process_group()


def test_ranks_share_the_decoding_and_agree(photos, tmp_path):
    cut(photos / 'c.png')
    cut(photos / 'b.JPEG')
    fork = multiprocessing.get_context('fork')
    ranks = [
        fork.Process(target=of_rank, args=(rank, tmp_path)) for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        assert rank.exitcode == 0
    (first, kept), (second, agreed) = (
        json.loads((tmp_path / f'{rank}.json').read_text()) for rank in (0, 1)
    )
    assert (len(first), len(second)) == (4, 3)
    assert len({*first, *second}) == 7
    assert (
        kept
        == agreed
        == [
            ['a.jpg', 12],
            ['d.BMP', 15],
            ['f.TIFF', 17],
            ['g.webp', 18],
            ['e.tif', 16],
        ]
    )


def test_no_thread_ends_before_workers_are_forked():
    """One that ends may hold a lock of OpenCV, and a worker would wait."""
    threads = in_threads(lambda _: threading.current_thread(), range(50))
    assert len(threads) == 50
    assert all(thread.is_alive() for thread in threads)
    assert threading.current_thread() not in threads
