"""Tests of lists that others published."""

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import make_splits
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from mmseg.registry import DATASETS
from PIL import Image

TOWN = [
    f'{town}/{town}_{i:06d}_000019'
    for town in ('aachen', 'ulm')
    for i in range(6)
]
VOC = [f'{2007 + i % 5}_{i:06d}' for i in range(10582)]
PAIRS = '/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png'
CITY_PAIRS = (
    'leftImg8bit/train/{0}_leftImg8bit.png '
    'gtFine/train/{0}_gtFine_labelTrainIds.png'
)
CITY = """
data = dict(
    type='CityscapesDataset',
    data_root='ROOT',
    data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine'),
    pipeline=[])
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=dict(
    data, data_prefix=dict(img_path='leftImg8bit/val')))
"""
VOC_CONFIG = """
train_dataloader = dict(dataset=dict(
    type='PascalVOCDataset',
    data_root='ROOT',
    ann_file='ImageSets/Segmentation/trainaug.txt',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='none'),
    pipeline=[]))
"""


def touch(folder, names, suffix):
    for name in names:
        path = folder / f'{name}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def city(tmp_path):
    """Empty images of two towns, one of a third for validation, no masks."""
    suffix = '_leftImg8bit.png'
    touch(tmp_path / 'leftImg8bit/train', TOWN, suffix)
    touch(
        tmp_path / 'leftImg8bit/val', ['lindau/lindau_000003_000019'], suffix
    )
    return tmp_path


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    """All 10,582 images, empty; of every seventh, 1,464, VOC has masks."""
    root = tmp_path_factory.mktemp('voc')
    touch(root / 'JPEGImages', VOC, '.jpg')
    sets = root / 'ImageSets/Segmentation'
    sets.mkdir(parents=True)
    (sets / 'trainaug.txt').write_text('\n'.join(VOC))
    (sets / 'train.txt').write_text('\n'.join(own_and_others()[0]))
    return root


def own_and_others():
    own = VOC[::7][:1464]
    return own, sorted(set(VOC) - set(own))


def run(root, *options, config=CITY, out='out'):
    """Run the tool in this process."""
    file = root / 'config.py'
    file.write_text(config.replace('ROOT', str(root)))
    with mock.patch.object(
        sys,
        'argv',
        ['make_splits.py', str(file), *options, f'--out={root / out}'],
    ):
        make_splits.main()


def lists(folder):
    return [
        (folder / f'{part}.txt').read_text().splitlines()
        for part in ('labeled', 'unlabeled')
    ]


def protocol(folder):
    return (folder / 'protocol.txt').read_text()


def imported(root, labeled, unlabeled=None, out='out', **kwargs):
    """Write lists and import them; all that the tool wrote."""
    options = [f'--import={write(root / "a.txt", labeled)}']
    if unlabeled is not None:
        options.append(
            f'--import-unlabeled={write(root / "b.txt", unlabeled)}'
        )
    run(root, *options, out=out, **kwargs)
    return (*lists(root / out), protocol(root / out))


def write(path, lines):
    data = lines if isinstance(lines, bytes) else '\n'.join(lines).encode()
    path.write_bytes(data)
    return path


def refusal(root, *args, **kwargs):
    with pytest.raises(SystemExit) as error:
        imported(root, *args, **kwargs)
    assert not (root / 'out').exists()
    return str(error.value)


def flat(name):
    return name.split('/')[1]


@pytest.mark.parametrize(
    'form',
    [
        '{0}',
        '{1}',
        '{1}_leftImg8bit.png',
        CITY_PAIRS,
        '/' + CITY_PAIRS,
        CITY_PAIRS.replace(' ', '\t'),
        '/images/city/train/{1}_leftImg8bit.png /masks/train/{1}_gtFine.png',
    ],
)
@pytest.mark.parametrize('suffix', ['_leftImg8bit', ''])
def test_every_form_of_line_is_a_name_of_the_data_set(city, form, suffix):
    # with the suffix .png the rest is a part of the name
    if not suffix and form in ('{0}', '{1}'):
        form += '_leftImg8bit'
    names = [name + '_leftImg8bit'[len(suffix) :] for name in TOWN]
    order = [7, 2, 11, 0]
    labeled, unlabeled, _ = imported(
        city,
        [form.format(TOWN[k], flat(TOWN[k])) for k in order],
        config=CITY.replace('pipe', f"img_suffix='{suffix}.png', pipe"),
    )
    assert labeled == sorted(names[k] for k in order)
    assert unlabeled == [names[k] for k in range(12) if k not in order]


@pytest.mark.parametrize(
    'text',
    [
        b'{}\n{}\n{}',
        b'{}\r\n{}\r\n{}\r\n',
        b'\n{}\n \n\n{}\n{}\n\n',
        b'\xef\xbb\xbf{}\n{}  \n\t{}\n',
    ],
)
def test_line_ends_and_blank_lines_do_not_matter(city, text):
    lines = [flat(TOWN[0]), CITY_PAIRS.format(TOWN[5]), TOWN[9]]
    for line in lines:
        text = text.replace(b'{}', line.encode(), 1)
    labeled, unlabeled, _ = imported(city, text)
    assert labeled == [TOWN[0], TOWN[5], TOWN[9]]
    assert len(unlabeled) == 9


def test_the_lists_load_as_ann_file(city):
    imported(city, [CITY_PAIRS.format(name) for name in TOWN[::3]])
    for part, count in (('labeled', 4), ('unlabeled', 8)):
        leaf = BaseSegDataset(
            ann_file=str(city / 'out' / f'{part}.txt'),
            data_prefix=dict(img_path=str(city / 'leftImg8bit/train')),
            img_suffix='_leftImg8bit.png',
        )
        paths = [leaf.get_data_info(i)['img_path'] for i in range(len(leaf))]
        assert len(paths) == count
        assert all(Path(path).is_file() for path in paths)


def test_an_unlabeled_list_may_leave_images_out(city, capsys):
    labeled, unlabeled, made = imported(city, TOWN[:2], TOWN[5:8])
    assert (labeled, unlabeled) == (TOWN[:2], TOWN[5:8])
    assert made == 'unknown lists, 2 labeled\n'
    assert (
        '2 labeled, 3 unlabeled, 7 in neither list' in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    'lines, words',
    [
        (
            [TOWN[1], '', 'ulm/ulm_000006_000019'],
            [
                'ulm/ulm_000006_000019, line 3 of',
                'a.txt',
                'is no image',
                'aachen_000000_000019_leftImg8bit.png',
                'fix the line',
            ],
        ),
        (
            [TOWN[1], TOWN[2], CITY_PAIRS.format(TOWN[1])],
            [
                f'{TOWN[1]}_leftImg8bit.png, line 3 of',
                'is in line 1 of',
                'take one out',
            ],
        ),
        (
            [
                TOWN[1],
                'leftImg8bit/val/lindau/lindau_000003_000019_leftImg8bit.png',
            ],
            [
                'lindau_000003_000019_leftImg8bit.png, line 2 of',
                'a.txt',
                'of val_dataloader',
                'take it out',
            ],
        ),
        ([TOWN[1], 'lindau_000003_000019'], ['of val_dataloader']),
        ([], ['a.txt names no image']),
        (['', ' '], ['a.txt names no image']),
        (TOWN, ['a.txt names all 12 images', 'no unlabeled one']),
        (b'\x89PNG\xff', ['a.txt cannot be read as a list']),
    ],
)
def test_a_wrong_list_is_refused_by_file_and_line(city, lines, words):
    message = refusal(city, lines)
    for word in words:
        assert word in message


def test_a_wrong_unlabeled_list_is_refused_by_file_and_line(city):
    message = refusal(city, TOWN[:3], [TOWN[4], TOWN[2]])
    assert f'{TOWN[2]}, line 2 of {city}/b.txt' in message
    assert f'is in line 3 of {city}/a.txt' in message
    assert 'b.txt names no image' in refusal(city, TOWN[:3], [])
    with pytest.raises(SystemExit, match='gone.txt cannot be read'):
        run(city, f'--import={city}/gone.txt')


def test_an_image_that_does_not_exist_is_named(city):
    write(city / 'all.txt', [*TOWN, 'ulm/gone'])
    message = refusal(
        city,
        TOWN[:3],
        config=CITY
        + ("train_dataloader['dataset'].update(ann_file='all.txt')"),
    )
    assert 'ulm/gone_leftImg8bit.png does not exist' in message


def test_images_of_one_file_name_are_refused(city):
    touch(city / 'leftImg8bit/train/bonn', [flat(TOWN[0])], '_leftImg8bit.png')
    message = refusal(city, TOWN[:3])
    assert f'{TOWN[0]} and bonn/{flat(TOWN[0])} have the same' in message


def test_a_training_image_that_is_held_out_is_refused(city):
    (city / 'leftImg8bit/val/link_leftImg8bit.png').symlink_to(
        city / f'leftImg8bit/train/{TOWN[8]}_leftImg8bit.png'
    )
    message = refusal(city, TOWN[:3])
    assert '1 training images are in val_dataloader' in message


def test_a_class_that_reads_no_lists_is_refused(city):

    @DATASETS.register_module(force=True)
    class TownDataset(CityscapesDataset):
        def load_data_list(self):
            self.ann_file = ''
            return super().load_data_list()

    message = refusal(
        city, TOWN[:3], config=CITY.replace('CityscapesDataset', 'TownDataset')
    )
    assert 'TownDataset does not find the same files by a list' in message


@pytest.mark.parametrize(
    'options',
    [
        ['--import=a.txt', '--labeled=3'],
        ['--import=a.txt', '--folds=2'],
        ['--import=a.txt', '--seed=1'],
        ['--import-unlabeled=a.txt'],
        ['--labeled=3', '--import-unlabeled=a.txt'],
    ],
)
def test_options_that_exclude_each_other(city, options):
    with pytest.raises(SystemExit) as error:
        run(city, *options)
    assert error.value.code == 2 and not (city / 'out').exists()


@pytest.mark.parametrize('part', ['labeled', 'unlabeled', 'protocol'])
def test_files_that_exist_are_kept(city, part):
    (city / 'out').mkdir()
    (city / f'out/{part}.txt').write_text('mine')
    with pytest.raises(SystemExit, match=f'{part}.txt exists'):
        imported(city, TOWN[:3])
    assert [path.read_text() for path in city.glob('out/*')] == ['mine']


def test_drawn_lists_have_their_protocol_beside_them(tmp_path):
    for i in range(8):
        for folder in ('images', 'masks'):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4), i % 2, np.uint8)).save(
                tmp_path / folder / f'{i}.png'
            )
    run(
        tmp_path,
        '--labeled=1/2',
        '--folds=2',
        '--seed=3',
        config="""
train_dataloader = dict(dataset=dict(
    type='BaseSegDataset',
    img_suffix='.png',
    data_prefix=dict(img_path='ROOT/images', seg_map_path='ROOT/masks'),
    metainfo=dict(classes=('a', 'b')),
    pipeline=[dict(type='LoadAnnotations')]))
""",
    )
    assert protocol(tmp_path / 'out/fold0') == 'seeded, seed 3\n'
    assert protocol(tmp_path / 'out/fold1') == 'seeded, seed 4\n'


@pytest.mark.parametrize(
    'form, high, count, name',
    [
        (PAIRS, 193, 1323, 'CPS 1/8'),
        (
            PAIRS[1:].replace('Aug', '').replace(' /', ' '),
            92,
            92,
            'high quality 92',
        ),
        ('{0}', 662, 662, 'U2PL 1/16'),
    ],
)
def test_lists_of_voc_are_recognized(
    voc, tmp_path, capsys, form, high, count, name
):
    own, others = own_and_others()
    names = own[:high] + others[: count - high]
    lines = [form.format(name) for name in names]
    labeled, unlabeled, made = imported(
        voc, lines, config=VOC_CONFIG, out=tmp_path / 'out'
    )
    assert labeled == sorted(names)
    assert sorted(labeled + unlabeled) == sorted(VOC)
    assert made == f'{name}\n'
    words = capsys.readouterr().out
    assert f'{count} labeled, {10582 - count} unlabeled, 0 in' in words
    assert f'{high} labeled images are of high quality' in words


def recognized(root, labeled, used=10582):
    return make_splits.protocol_of(
        SimpleNamespace(data_root=str(root)), labeled, used
    )


@pytest.mark.parametrize(
    'high, count, name',
    [
        (93, 662, 'CPS 1/16'),
        (388, 2646, 'CPS 1/4'),
        (742, 5291, 'CPS 1/2'),
        (1323, 1323, 'U2PL 1/8'),
        (1464, 2646, 'U2PL 1/4'),
        (1464, 5291, 'U2PL 1/2'),
        (183, 183, 'high quality 183'),
        (366, 366, 'high quality 366'),
        (1464, 1464, 'high quality 1464'),
        (192, 1323, 'unknown lists, 1323 labeled'),
        (91, 92, 'unknown lists, 92 labeled'),
        (0, 500, 'unknown lists, 500 labeled'),
    ],
)
def test_protocols_of_voc_go_by_both_counts(voc, high, count, name):
    own, others = own_and_others()
    assert recognized(voc, own[:high] + others[: count - high]) == name
    assert (
        recognized(voc, own[:high] + others[: count - high], 10581)
        == f'unknown lists, {count} labeled'
    )


def test_there_are_two_lists_of_732(voc, capsys):
    assert recognized(voc, VOC[::7][:732]) == 'high quality 732'
    assert 'share only 371 names' in capsys.readouterr().out


@pytest.mark.parametrize('own', [None, VOC])
def test_without_the_own_list_of_voc_quality_cannot_be_told(
    tmp_path, capsys, own
):
    if own:  # some overwrite it by the list of all
        (tmp_path / 'ImageSets/Segmentation').mkdir(parents=True)
        write(tmp_path / 'ImageSets/Segmentation/train.txt', own)
    assert recognized(tmp_path, VOC[:662]) == 'unknown lists, 662 labeled'
    words = capsys.readouterr().out
    assert 'cannot be told' in words and 'Segmentation/train.txt' in words


@pytest.mark.parametrize(
    'count, share', [(186, '1/16'), (372, '1/8'), (744, '1/4'), (1488, '1/2')]
)
def test_cityscapes_goes_by_the_count(tmp_path, capsys, count, share):
    names = [str(i) for i in range(count)]
    assert recognized(tmp_path, names, 2975) == f'Cityscapes {share}'
    assert 'quality' not in capsys.readouterr().out
    assert recognized(tmp_path, names[1:], 2975).startswith('unknown lists')
