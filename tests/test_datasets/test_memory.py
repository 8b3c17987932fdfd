"""Files that an earlier run found fit are not read again."""

import os

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

import mmseg_psmt  # noqa: F401
from mmseg_psmt.datasets import checks, unlabeled_folder
from mmseg_psmt.datasets.memory import Memory

LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture
def root(tmp_path):
    init_default_scope('mmseg')
    folder = tmp_path / 'data'
    for part in ('images', 'masks'):
        (folder / part).mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((8, 9, 3), 50 * i, np.uint8)).save(
            folder / f'images/{i}.jpg'
        )
        Image.fromarray(np.full((8, 9), i % 2, np.uint8)).save(
            folder / f'masks/{i}.png'
        )
    return folder


@pytest.fixture
def calls(monkeypatch):
    """Names of the images that are read."""
    names = []
    for module, name in ((checks, 'scan'), (unlabeled_folder, 'decode')):

        def spy(*args, stock=getattr(module, name), **kwargs):
            names.append(os.path.basename(args[-1]['img_path']))
            return stock(*args, **kwargs)

        monkeypatch.setattr(module, name, spy)
    return names


def masked(root, classes=('a', 'b'), pipeline=LOADING, **options):
    dataset = DATASETS.build(
        dict(
            type=options.pop('type', 'BaseSegDataset'),
            data_root=str(root),
            pipeline=pipeline,
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(classes=classes, palette=[[0] * 3] * len(classes)),
        )
    )
    vars(dataset).update(options)
    return dataset


def photos(root):
    return DATASETS.build(
        dict(
            type='UnlabeledFolder',
            images=str(root / 'images'),
            pipeline=LOADING[:1],
        )
    )


def check(root, **options):
    return checks.scan_all('labeled', masked(root, **options), remember=True)


LOOKS = dict(masks=check, photos=photos)


class OtherDataset(BaseSegDataset):
    """One of a user, which may read other masks."""


@pytest.mark.parametrize('look', LOOKS)
def test_once(root, calls, look):
    first = LOOKS[look](root)
    assert sorted(calls) == ['0.jpg', '1.jpg', '2.jpg', '3.jpg']
    calls.clear()
    again = LOOKS[look](root)
    assert calls == [] and len(again) == len(first) == 4
    if look == 'masks':
        assert [seen['pixels'].popitem()[1] for seen in again] == [72] * 4


@pytest.mark.parametrize('look', LOOKS)
def test_what_is_new_or_changed_is_read(root, calls, look):
    LOOKS[look](root)
    calls.clear()
    for part in ('images/9.jpg', 'masks/9.png'):
        source = root / part.replace('9', '1')
        (root / part).write_bytes(source.read_bytes())
    os.utime(root / 'images/2.jpg', ns=(1, 1))
    LOOKS[look](root)
    assert sorted(calls) == ['2.jpg', '9.jpg']


def test_a_mask_that_changes_is_read(root, calls):
    check(root)
    calls.clear()
    Image.fromarray(np.zeros((4, 9), np.uint8)).save(root / 'masks/3.png')
    faults = [seen.get('shape') for seen in check(root)]
    assert {*calls} == {'3.jpg'} and faults[:3] == [None] * 3
    assert '3.png is 4 x 9' in faults[3]


@pytest.mark.parametrize('look', LOOKS)
def test_faults_are_found_each_time(root, calls, look):
    (root / 'images/1.jpg').write_bytes(b'')
    LOOKS[look](root)
    calls.clear()
    found = LOOKS[look](root)
    assert {*calls} == {'1.jpg'}
    if look == 'masks':
        assert 'cannot be read' in found[1]['unread']
    else:
        assert len(found) == 3


@pytest.mark.parametrize(
    'options',
    [
        dict(classes=('a', 'b', 'c')),
        dict(type=OtherDataset),
        dict(label_map={1: 0}),
        dict(
            pipeline=[
                dict(type='LoadImageFromFile', to_float32=True),
                LOADING[1],
            ]
        ),
        dict(
            pipeline=[
                LOADING[0],
                dict(type='LoadAnnotations', reduce_zero_label=True),
            ]
        ),
    ],
)
def test_other_settings_read_again(root, calls, options):
    check(root)
    calls.clear()
    check(root, **options)
    assert {*calls} == {'0.jpg', '1.jpg', '2.jpg', '3.jpg'}


def test_what_cannot_be_written_or_read_stops_nothing(
    root, calls, monkeypatch
):
    check(root)
    calls.clear()
    (path,) = (root.parent / 'cache').rglob('*.json')
    for broken in ('{"half', 'null', '[1]'):
        path.write_text(broken)
        calls.clear()
        check(root)
        assert len(calls) == 4
    calls.clear()
    (root / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(root / 'file'))
    check(root)
    assert len(calls) == 4


def test_an_object_without_a_description_is_never_the_same(root):
    files, asked = [[str(root / 'images/0.jpg')]], []
    for _ in range(2):
        memory = Memory(object())
        assert memory.look(
            files, lambda i: asked.append(i) or dict(size=3)
        ) == [dict(size=3)]
        memory.keep()
    assert asked == [0, 0]
