"""Hostile lists, images and masks: right pairs, or an error that names it."""

import re
import unicodedata
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import check_data
import make_splits
import numpy as np
import pytest
import torch.nn as nn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmseg.registry import DATASETS, HOOKS
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_psmt.datasets import SemiSegDataset
from mmseg_psmt.models import SemiSegDataPreProcessor

register_all_modules()
fuzz = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[*HealthCheck],
)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
PACK = dict(type='PackSegInputs')
VIEWS = dict(type='MultiView', weak=[PACK], strong=[PACK])
NFC, NFD = (unicodedata.normalize(form, 'é') for form in ('NFC', 'NFD'))
NAMES = ('my', 'my photo', 'photo', 'sub/a b', NFC, NFD, 'x\u2028y', 'l.st')
NAMED = st.builds(
    '{}{}{}'.format,
    st.sampled_from(['', ' ', '\t', './', '../images/']),
    st.sampled_from(NAMES),
    st.sampled_from(['', '  ', '\t', ' \x0c']),
)
TEXT = st.text(st.characters(codec='utf-8'), max_size=5)
ODD = st.sampled_from(
    [
        '..',
        '.',
        '/',
        '../my',
        'sub',
        'gone',
        '\0',
        '~',
        '*',
        'my my',
        'my photo photo',
        '/my',
        'x' * 300,
    ]
)
LINES = st.one_of(
    st.lists(NAMED, min_size=1, max_size=4),
    st.lists(st.one_of(NAMED, NAMED, NAMED, TEXT, ODD), max_size=4),
)


@st.composite
def lists(draw, lines=LINES):
    """Bytes of a list and, where it can be read, its lines."""
    end = draw(st.sampled_from(['\n', '\r\n', '\r']))
    text = end.join(draw(lines)) + draw(st.sampled_from(['', end, 2 * end]))
    code = draw(st.sampled_from(['utf-8'] * 6 + ['utf-8-sig', 'utf-16']))
    plain = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')
    return text.encode(code), plain, code


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """An image and a mask of each name, of the same grey."""
    root = tmp_path_factory.mktemp('root')
    for i, name in enumerate(NAMES):
        for folder, size in (('images', (2, 3, 3)), ('masks', (2, 3))):
            path = root / folder / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(size, i, np.uint8)).save(path)
    (root / 'images/folder.png').mkdir()
    (root / 'unlabeled').mkdir()
    Image.new('RGB', (3, 2)).save(root / 'unlabeled/u.png')
    return root


def labeled(root, **options):
    return {
        'type': 'BaseSegDataset',
        'data_root': str(root),
        'img_suffix': '.png',
        'data_prefix': dict(img_path='images', seg_map_path='masks'),
        'metainfo': dict(classes=[*NAMES], palette=[[0, 0, 0]] * len(NAMES)),
        'pipeline': [*LOAD, PACK],
        **options,
    }


@pytest.fixture(scope='module')
def unlabeled(root):
    return DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=str(root / 'unlabeled'),
            pipeline=[LOAD[0], VIEWS],
        )
    )


def greys(item):
    """Grey of the image and of the mask."""
    return (
        item['inputs'].unique().tolist(),
        item['data_samples'].gt_sem_seg.data.unique().tolist(),
    )


@fuzz
@given(lists())
def test_a_list_of_mmseg(root, unlabeled, drawn):
    content, lines, code = drawn
    (root / 'labeled.txt').write_bytes(content)
    names = [line.strip() for line in lines]
    names = names[:-1] if names[-1] == '' else names
    wanted = [
        name.removeprefix('./').removeprefix('../images/') for name in names
    ]
    try:
        dataset = SemiSegDataset(
            labeled(root, ann_file='labeled.txt'), unlabeled
        )
    except (ValueError, FileNotFoundError) as error:
        assert str(root / 'labeled.txt') in str(error)
        fine = code == 'utf-8' and {*wanted} <= {*NAMES}
        assert not (
            fine
            and wanted
            and all(
                (root / 'masks' / f'{name}.png').exists() for name in names
            )
        )
        return
    assert len(dataset.labeled) == len(wanted)
    for i, name in enumerate(wanted):
        grey = [NAMES.index(name)]
        assert greys(dataset.labeled[i]) == (grey, grey)


@fuzz
@given(lists())
def test_a_list_of_unlabeled_images(root, drawn):
    content, lines, code = drawn
    (root / 'list.txt').write_bytes(content)
    names = {line.strip() for line in lines if line.strip()}
    wanted = {
        name.removeprefix('./').removeprefix('../images/') for name in names
    }
    # a line is a path with its suffix
    (root / 'list.txt').write_bytes(
        content
        if code == 'utf-16'
        else ''.join(f'{name}.png\n' for name in names).encode(code)
    )
    config = dict(
        type='UnlabeledFolder',
        images='../list.txt',
        data_root=str(root / 'images'),
        pipeline=[LOAD[0]],
    )
    try:
        dataset = DATASETS.build(config)
    except (ValueError, FileNotFoundError) as error:
        assert 'list.txt' in str(error)
        assert code == 'utf-16' or not wanted or not wanted <= {*NAMES}
        return
    found = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert {str(Path(path).resolve()) for path in found} == {
        str(root / 'images' / f'{name}.png') for name in wanted
    }
    assert len(found) == len(wanted)


def test_a_list_of_unlabeled_images_with_a_byte_order_mark(root):
    (root / 'list.txt').write_bytes(b'\xef\xbb\xbfmy.png\r\nl.st.png')
    dataset = DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images='../list.txt',
            pipeline=[LOAD[0]],
            data_root=str(root / 'images'),
        )
    )
    assert len(dataset) == 2


FILES = {f'{Path(name).name}.png': k for k, name in enumerate(NAMES)}
KNOWN = {**FILES, **{Path(name).name: k for k, name in enumerate(NAMES)}}
FORMS = st.sampled_from(
    [
        '{0}',
        '{0}.png',
        'JPEG Images/{0}.png',
        '/a b/{0}.png  masks/{0}.png',
        '{0}.png\tm/{0}_l.png',
    ]
)
PUBLISHED = st.builds(lambda form, name: form.format(name), FORMS, NAMED)


@fuzz
@given(lists(st.one_of(st.lists(PUBLISHED, min_size=1, max_size=3), LINES)))
def test_a_published_list(root, drawn):
    content, lines, code = drawn
    path = root / 'published.txt'
    path.write_bytes(content)
    lines = [line.strip() for line in lines if line.strip()]
    wanted = []
    for line in lines:
        ends = [
            i
            for i in range(len(line), 0, -1)
            if i == len(line) or line[i].isspace()
        ]
        fits = [
            KNOWN.get(Path('/' + line).name) if line[-1] != '/' else None
        ] + [FILES.get(line[:i].rpartition('/')[2]) for i in ends[1:]]
        wanted.append(next((k for k in fits if k is not None), None))
    try:
        found = make_splits.read_list(path, KNOWN, {}, {*FILES}, {})
    except SystemExit as error:
        assert str(path) in str(error)
        assert (
            code == 'utf-16'
            or None in wanted
            or not wanted
            or len({*wanted}) < len(wanted)
        )
        return
    assert found == sorted(wanted)


def test_a_name_with_a_space_is_not_cut(root):
    path = root / 'published.txt'
    path.write_text('my photo\nx/my.png m/my.png\n')
    assert make_splits.read_list(path, KNOWN, {}, {*FILES}, {}) == [0, 1]
    path.write_text('my gone\n')
    with pytest.raises(SystemExit, match='my gone, line 1 of'):
        make_splits.read_list(path, KNOWN, {}, {*FILES}, {})


@pytest.mark.parametrize(
    'content, words',
    [
        (b'\xef\xbb\xbfmy\n', 'without a byte order mark'),
        (b'my\n\nphoto\n', 'blank line'),
        ('my\n'.encode('utf-16'), 'not UTF-8'),
        (b'folder\n', 'folder.png is not a file'),
    ],
)
def test_what_to_do_about_a_list_is_said(root, unlabeled, content, words):
    (root / 'labeled.txt').write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        SemiSegDataset(labeled(root, ann_file='labeled.txt'), unlabeled)


def test_a_folder_in_place_of_a_list_is_refused(root, unlabeled):
    with pytest.raises(ValueError, match='is the folder .*masks'):
        SemiSegDataset(labeled(root, ann_file='masks'), unlabeled)


def encoded(image, kind='PNG', **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
RGB = Image.fromarray(NOISE)
EYE = np.eye(6, dtype=np.uint8)


def oriented(way, image=RGB, kind='JPEG'):
    exif = Image.Exif()
    exif[0x112] = way
    return encoded(image, kind, exif=exif)


def dataset_of(folder, image, mask, **load):
    for part, content in (('images', image), ('masks', mask)):
        (folder / part).mkdir(parents=True)
        (folder / part / 'a.png').write_bytes(content)
    return DATASETS.build(
        labeled(
            folder,
            metainfo=dict(classes=('a', 'b'), palette=[[0] * 3] * 2),
            pipeline=[{**LOAD[0], **load}, LOAD[1], PACK],
        )
    )


def problems_of(dataset, unlabeled):
    """What stops a training, and what tools/check_data.py says."""
    model = nn.Module()
    model.data_preprocessor = SemiSegDataPreProcessor(size_divisor=1)
    model.one_pass, model.segmentor = False, nn.Identity()
    model.segmentor.backbone = nn.Identity()
    runner = SimpleNamespace(
        model=model,
        val_loop=None,
        train_dataloader=SimpleNamespace(
            dataset=SemiSegDataset(dataset, unlabeled)
        ),
    )
    found = check_data.Problems()
    check_data.inspect(found, 'labeled', dataset, None)
    try:
        HOOKS.build(dict(type='DataCheckHook')).before_train(runner)
    except ValueError as error:
        first = re.sub('0x[0-9a-f]*', '', str(error))
        assert [first] == [re.sub('0x[0-9a-f]*', '', f) for f in found]
        return str(error)
    assert not found
    return None


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGBA', 'P', '1', 'I;16', 'CMYK'])
def test_images_of_any_mode_are_loaded_as_their_colors(
    tmp_path, unlabeled, mode
):
    image, kind, options = RGB, 'PNG', {}
    if mode == 'I;16':
        image = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
        seen = np.repeat(NOISE[..., :1], 3, 2)
    else:
        image = RGB.convert(mode)
        if mode == 'CMYK':
            kind, options = 'JPEG', dict(quality=100)
        seen = np.array(
            Image.open(BytesIO(encoded(image, kind, **options))).convert('RGB')
        )
    dataset = dataset_of(
        tmp_path, encoded(image, kind, **options), encoded(EYE)
    )
    assert problems_of(dataset, unlabeled) is None
    got = dataset[0]['inputs'].numpy()[::-1].transpose(1, 2, 0)
    assert abs(got.astype(int) - seen).max() <= 1


@pytest.mark.parametrize(
    'kind, way',
    [
        *(('JPEG', way) for way in range(2, 9)),
        ('PNG', 6),
        ('WEBP', 3),
        ('TIFF', 6),
    ],
)
def test_a_turned_square_image_is_refused(tmp_path, unlabeled, kind, way):
    dataset = dataset_of(tmp_path, oriented(way, kind=kind), encoded(EYE))
    problem = problems_of(dataset, unlabeled)
    for word in ('images/a.png', f'orientation {way}', 'save', 'masks/a.png'):
        assert word in problem


@pytest.mark.parametrize('way', [0, 1, 9])
def test_an_upright_image_is_fit(tmp_path, unlabeled, way):
    dataset = dataset_of(tmp_path, oriented(way), encoded(EYE))
    assert problems_of(dataset, unlabeled) is None


def test_the_size_of_the_mask_says_whether_it_is_turned(tmp_path, unlabeled):
    tall = Image.fromarray(NOISE[:, :4])  # 6 x 4, loaded as 4 x 6
    for name, mask, fit in (
        ('loaded', EYE[:4], True),
        ('stored', EYE[:, :4], False),
    ):
        dataset = dataset_of(tmp_path / name, oriented(6, tall), encoded(mask))
        problem = problems_of(dataset, unlabeled)
        assert problem is None if fit else 'orientation 6' in problem


def test_a_loader_that_turns_nothing_is_fit(tmp_path, unlabeled):
    dataset = dataset_of(
        tmp_path,
        oriented(6),
        encoded(EYE),
        color_type='color_ignore_orientation',
    )
    assert problems_of(dataset, unlabeled) is None


def palette(alpha):
    mask = Image.fromarray(EYE, 'P')
    mask.putpalette([0, 0, 0, 128, 0, 0])
    return encoded(mask, transparency=alpha)


@pytest.mark.parametrize(
    'mask',
    [
        encoded(EYE),
        encoded(EYE.astype(bool)),
        encoded(EYE.astype(np.uint16)),
        palette(0),
        palette(bytes([0, 255])),
        encoded(EYE.astype(np.int32), 'TIFF'),
    ],
    ids=['L', '1', 'I;16', 'P', 'P with alpha', 'I'],
)
def test_masks_of_these_modes_are_read_rightly(tmp_path, unlabeled, mask):
    dataset = dataset_of(tmp_path, encoded(RGB), mask)
    assert problems_of(dataset, unlabeled) is None
    loaded = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(loaded, np.eye(6))


@pytest.mark.parametrize(
    'mask, words',
    [
        (encoded(EYE.astype(np.uint16) * 256), ['8 bits', 'fix']),
        (encoded(EYE.astype(np.int32) * 65536, 'TIFF'), ['8 bits']),
        (encoded(EYE.astype(np.float32) / 2, 'TIFF'), ['8 bits']),
        (encoded(Image.fromarray(EYE).convert('RGB')), ['6 x 6 x 3', '6 x 6']),
        (encoded(Image.fromarray(EYE).convert('RGBA')), ['6 x 6 x 4']),
        (encoded(Image.fromarray(EYE).convert('LA')), ['6 x 6 x 2']),
        (encoded(EYE[:5]), ['5 x 6', '6 x 6']),
        (encoded(np.tile(EYE, (2, 2))), ['12 x 12']),
        (encoded(EYE * 2), ['[2]', '2 classes']),
        (encoded(EYE)[:-30], ['cannot be read']),
        (b'', ['cannot be read']),
    ],
    ids=[
        'I;16',
        'I',
        'F',
        'RGB',
        'RGBA',
        'LA',
        'small',
        'large',
        'ids',
        'cut',
        'empty',
    ],
)
def test_other_masks_are_refused(tmp_path, unlabeled, mask, words):
    problem = problems_of(dataset_of(tmp_path, encoded(RGB), mask), unlabeled)
    for word in (str(tmp_path / 'masks/a.png'), *words):
        assert word in problem


def test_an_image_that_is_its_own_mask_is_refused(tmp_path, unlabeled):
    dataset = dataset_of(tmp_path, encoded(EYE), encoded(EYE))
    dataset = DATASETS.build(
        labeled(
            tmp_path,
            data_prefix=dict(img_path='images', seg_map_path='images'),
        )
    )
    problem = problems_of(dataset, unlabeled)
    assert 'image and mask in one' in problem and 'a.png' in problem


@pytest.mark.parametrize('size', [(1, 1), (10000, 1), (1, 10000)])
def test_lines_of_pixels_are_refused_with_masks_alone(
    tmp_path, unlabeled, size
):
    pixels = np.zeros(size, np.uint8)
    dataset = dataset_of(tmp_path, encoded(pixels), encoded(pixels))
    problem = problems_of(dataset, unlabeled)
    assert 'images/a.png' in problem and 'one pixel' in problem
    crop = dict(type='RandomCrop', crop_size=(8, 8))
    strong = [
        dict(type='ColorJitter', prob=1.0),
        dict(type='RandomGaussianBlur', prob=1.0),
        PACK,
    ]
    photos = DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=str(tmp_path / 'images'),
            pipeline=[
                LOAD[0],
                crop,
                dict(type='MultiView', weak=[PACK], strong=strong),
            ],
        )
    )
    views = photos[0]
    wanted = tuple(min(8, length) for length in size)
    assert {view['inputs'].shape[1:] for view in views.values()} == {wanted}


def test_more_pixels_than_pillow_likes(tmp_path, unlabeled, monkeypatch):
    """It warns above a limit of its own, and refuses twice as many."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 894_784)
    mask = np.zeros((1000, 1000), np.uint8)
    mask[:, 900:] = 1
    dataset = dataset_of(tmp_path, encoded(mask), encoded(mask))
    assert problems_of(dataset, unlabeled) is None


def test_a_broken_validation_is_found_before_the_training(
    root, tmp_path, unlabeled
):
    model = nn.Module()
    model.data_preprocessor = SemiSegDataPreProcessor(size_divisor=1)
    model.one_pass, model.segmentor = False, nn.Identity()
    model.segmentor.backbone = nn.Identity()
    runner = SimpleNamespace(
        model=model,
        val_loop=SimpleNamespace(evaluator=None),
        val_dataloader=SimpleNamespace(
            dataset=dataset_of(tmp_path, encoded(RGB), encoded(EYE[:5]))
        ),
        train_dataloader=SimpleNamespace(
            dataset=SemiSegDataset(labeled(root), unlabeled)
        ),
    )
    with pytest.raises(ValueError, match='masks/a.png is 5 x 6'):
        HOOKS.build(dict(type='DataCheckHook')).before_train(runner)
