"""Tests of the labeled and unlabeled lists."""

import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import make_splits
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_psmt.datasets import UnlabeledFolder

CLASSES = ('ground', 'road', 'tree', 'car', 'cone')
TOTAL, CONES = 40, (7, 23)  # images, and those which hold a cone
SUFFIXES = ('_leftImg8bit.png', '_labels.png')
CONFIG = f"""
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
data = dict(
    type='BaseSegDataset',
    data_root='ROOT',
    data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
    img_suffix='{SUFFIXES[0]}',
    seg_map_suffix='{SUFFIXES[1]}',
    metainfo=dict(classes={CLASSES}),
    pipeline=pipeline)
train_dataloader = dict(dataset=data)
val_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        data_root='ROOT',
        data_prefix=dict(img_path='images/val'),
        img_suffix='.png'))
test_dataloader = None
"""
SEMI = """
view = [dict(type='PackSegInputs')]
views = dict(type='MultiView', weak=view, strong=view)
train_dataloader = dict(dataset=dict(
    type='SemiSegDataset',
    labeled=dict(data, ann_file='a.txt'),
    unlabeled=dict(data, ann_file='b.txt', pipeline=[*pipeline, views])))
"""


@pytest.fixture
def root(tmp_path):
    """Forty images in folders of two towns, and one for validation."""
    for i, name in enumerate(all_names()):
        rng = np.random.default_rng(i)
        holds = [0, *(np.flatnonzero(rng.random(3) < (0.7, 0.4, 0.2)) + 1)]
        pixels = rng.choice(holds, (16, 16))
        pixels[:2, 0] = 255  # to be ignored
        pixels[2 : 2 + len(holds), 0] = holds
        if i in CONES:
            pixels[-1, 0] = 4
        mask = Image.fromarray(pixels.astype(np.uint8), 'P')
        mask.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
        for folder, suffix, image in (
            ('images', SUFFIXES[0], mask.convert('RGB')),
            ('masks', SUFFIXES[1], mask),
        ):
            path = tmp_path / folder / 'train' / f'{name}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    (tmp_path / 'images/val').mkdir()
    mask.convert('RGB').save(tmp_path / 'images/val/first.png')
    return tmp_path


def all_names():
    return sorted(
        f'{"town" if i % 3 else "old/town"}/view_{i:02d}' for i in range(TOTAL)
    )


def mask_path(root, name):
    return root / 'masks/train' / f'{name}{SUFFIXES[1]}'


def ids(root, name):
    return np.array(Image.open(mask_path(root, name)))


def run(root, out='out', config='', labeled='1/8', **options):
    """Run the tool in this process; return its exit status and its words."""
    file = root / 'config.py'
    file.write_text((CONFIG + config).replace('ROOT', str(root)))
    argv = ['make_splits.py', str(file), f'--labeled={labeled}']
    argv += [f'--{key}={value}' for key, value in options.items()]
    words = io.StringIO()
    with (
        mock.patch.object(sys, 'argv', [*argv, f'--out={root / out}']),
        redirect_stdout(words),
        redirect_stderr(words),
    ):
        try:
            make_splits.main()
        except SystemExit as error:
            if isinstance(error.code, int):
                return error.code, words.getvalue()
            return 1, str(error.code)
    return 0, words.getvalue()


def drawn(root, out='out', **options):
    """Labeled and unlabeled names of a run that must succeed."""
    status, words = run(root, out, **options)
    assert status == 0, words
    return lists(root / out)


def lists(folder):
    return [
        (folder / f'{part}.txt').read_text().splitlines()
        for part in ('labeled', 'unlabeled')
    ]


def refusal(root, *args, **options):
    """Words of a run that must fail and write no list."""
    status, words = run(root, *args, **options)
    assert status != 0
    assert not (root / 'out').exists()
    return words


def row(words, name):
    """Cells of a class in the table."""
    line = next(
        line for line in words.splitlines() if line.startswith(f'| {name} ')
    )
    return [cell.strip() for cell in line.split('|')[2:-1]]


def draw(*args):
    return make_splits.draw(*args)


@pytest.mark.parametrize(
    'labeled, count',
    [('1/8', 5), ('0.125', 5), ('1/7', 6), ('13', 13), ('1', 1), ('39', 39)],
)
def test_the_lists_part_the_set(root, labeled, count):
    first, second = drawn(root, labeled=labeled)
    assert len(first) == count
    assert first == sorted(first) and second == sorted(second)
    assert sorted(first + second) == all_names()


def test_the_lists_load_as_ann_file(root):
    for part, names in zip(('labeled', 'unlabeled'), drawn(root)):
        leaf = BaseSegDataset(
            ann_file=str(root / 'out' / f'{part}.txt'),
            data_prefix=dict(
                img_path=str(root / 'images/train'),
                seg_map_path=str(root / 'masks/train'),
            ),
            img_suffix=SUFFIXES[0],
            seg_map_suffix=SUFFIXES[1],
        )
        assert len(leaf) == len(names)
        for i in range(len(leaf)):
            assert Path(leaf.get_data_info(i)['img_path']).is_file()
            assert Path(leaf.get_data_info(i)['seg_map_path']).is_file()


def test_the_photos_are_the_unlabeled_images(root):
    _, names = drawn(root)
    paths = (root / 'out/photos.txt').read_text().splitlines()
    assert all(Path(path).is_absolute() for path in paths)
    photos = UnlabeledFolder(
        str(root / 'out/photos.txt'), pipeline=[], lazy_init=True
    )
    found = [info['img_path'] for info in photos.load_data_list()]
    assert [Path(path).name for path in found] == [
        f'{Path(name).name}{SUFFIXES[0]}' for name in names
    ]


def test_the_same_seed_gives_the_same_bytes_in_any_order_of_files(root):
    drawn(root, 'first')
    names = np.random.default_rng(0).permutation(all_names())
    (root / 'train.txt').write_text('\n'.join(names))
    drawn(root, 'second', config="data['ann_file'] = 'train.txt'")
    for name in ('labeled.txt', 'unlabeled.txt'):
        assert (root / 'first' / name).read_bytes() == (
            root / 'second' / name
        ).read_bytes()


def test_folds_are_independent_draws_with_the_next_seeds(root):
    status, words = run(root, folds=3, seed=5)
    assert status == 0
    folds = [lists(root / 'out' / f'fold{i}') for i in range(3)]
    assert len({tuple(labeled) for labeled, _ in folds}) == 3
    assert folds[1] == drawn(root, 'other', seed=6)
    for i in range(3):
        assert f"ann_file='{root}/out/fold{i}/unlabeled.txt'" in words


def test_few_images_cover_every_class_for_every_seed():
    # The rarest class, 4, is in images 0 and 1; 1 covers more. Then 3 is the
    # rarest, and of its images 2 to 4 the second covers all that is left.
    # Whoever begins with the richest image, 5, needs three.
    images = [
        (0, 4),
        (0, 1, 4, 6),
        (0, 3),
        (0, 2, 3, 5),
        (0, 3),
        (0, 1, 2, 5, 6),
        *[(0, c) for c in (1, 2, 5, 6)] * 3,
    ]
    holds = np.array([[c in image for c in range(7)] for image in images])
    for seed in range(50):
        labeled = draw(holds, 2, seed)
        assert np.flatnonzero(labeled).tolist() == [1, 3]


def test_ties_are_broken_by_chance():
    chosen = {
        draw(np.ones((6, 2), bool), 1, seed).argmax() for seed in range(60)
    }
    assert chosen == set(range(6))


def test_frequencies_are_nearer_the_whole_than_in_plain_draws():
    rng = np.random.default_rng(0)
    holds = rng.random((200, 7)) < (1, 0.8, 0.6, 0.4, 0.25, 0.15, 0.08)

    def error(labeled):
        return np.abs(holds[labeled].mean(0) - holds.mean(0)).mean()

    ours = [error(draw(holds, 40, seed)) for seed in range(30)]
    plain = [error(rng.choice(200, 40, False)) for _ in range(300)]
    assert np.mean(ours) < np.mean(plain) / 2


@pytest.mark.parametrize('seed', range(5))
def test_the_class_of_two_images_is_labeled(root, seed):
    labeled, _ = drawn(root, seed=seed)
    found = {c for name in labeled for c in np.unique(ids(root, name))}
    assert found == {0, 1, 2, 3, 4, 255}


def test_the_table_counts_what_pil_reads(root):
    status, words = run(
        root, config=f"data['metainfo'].update(classes={(*CLASSES, 'boat')})"
    )
    assert status == 0
    parts = [all_names(), *lists(root / 'out')]
    masks = [np.stack([ids(root, name) for name in names]) for names in parts]
    for c, name in enumerate(CLASSES):
        images = [str((part == c).any((1, 2)).sum()) for part in masks]
        shares = [
            f'{(part == c).sum() / (part != 255).sum():.2%}'
            for part in masks[:2]
        ]
        assert row(words, name) == images + shares
    assert row(words, 'cone')[0] == '2'
    assert row(words, 'boat') == ['0', '0', '0', '0.00%', '0.00%']
    assert 'no image of the set holds boat\n' in words


def test_masks_are_read_as_the_data_set_reads_them(root):
    whole = run(root, 'whole')[1]
    status, words = run(
        root,
        config='data.update(reduce_zero_label=True, '
        f'metainfo=dict(classes={CLASSES[1:]}))',
    )
    assert status == 0
    for name in CLASSES[1:]:
        assert row(words, name)[0] == row(whole, name)[0]


def test_too_few_images_for_the_classes_are_warned_of(root):
    status, words = run(root, labeled='1')
    assert status == 0
    missed = words.split('Warning: 1 labeled images are too few to hold ')[1]
    (name,), _ = lists(root / 'out')
    held = np.unique(ids(root, name))
    assert missed.splitlines()[0].split(', ') == [
        CLASSES[c] for c in range(5) if c not in held
    ]


@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
def test_an_image_of_the_validation_is_refused(root, loader):
    name = all_names()[3]
    (root / 'images/val/link.png').symlink_to(
        root / 'images/train' / f'{name}{SUFFIXES[0]}'
    )
    words = refusal(
        root,
        config='test_dataloader = val_dataloader\n'
        + ('val_dataloader = None' * (loader[0] == 't')),
    )
    assert f'1 training images are in {loader}' in words
    assert f'{name}{SUFFIXES[0]}' in words


def test_an_image_twice_is_refused(root):
    name = all_names()[3]
    for suffix, folder in zip(SUFFIXES, ('images', 'masks')):
        path = root / folder / 'train' / f'copy{suffix}'
        path.symlink_to(root / folder / 'train' / f'{name}{suffix}')
    words = refusal(root)
    assert 'twice' in words
    assert f'copy{SUFFIXES[0]}' in words and name in words


def test_lists_that_exist_are_kept(root):
    before = drawn(root)
    status, words = run(root, seed=1)
    assert status == 1 and 'out/labeled.txt exists' in words
    assert lists(root / 'out') == before
    (root / 'out/labeled.txt').unlink()
    status, words = run(root, seed=1)
    assert status == 1 and 'out/unlabeled.txt exists' in words
    assert not (root / 'out/labeled.txt').exists()
    (root / 'out/unlabeled.txt').unlink()
    status, words = run(root, seed=1)
    assert status == 1 and 'out/photos.txt exists' in words
    (root / 'file').write_text('mine')
    status, words = run(root, 'file')
    assert status == 1 and 'file exists' in words


@pytest.mark.parametrize(
    'labeled',
    ['0', '40', '1.0', '0.999', '2.5', 'some', '1/0', '-1/8', 'nan', ''],
)
def test_a_wrong_number_of_labels_is_refused_with_the_range(root, labeled):
    status, words = run(root, labeled=labeled)
    assert status == 1 and not (root / 'out').exists()
    assert 'share between 0 and 1' in words and 'from 1 to 39' in words


@pytest.mark.parametrize('option', [dict(folds=0), dict(seed=-1)])
def test_wrong_folds_and_seeds_are_refused(root, option):
    assert run(root, **option)[0] == 2


def test_a_missing_image_is_named(root):
    (root / 'train.txt').write_text('\n'.join([*all_names(), 'town/gone']))
    words = refusal(root, config="data['ann_file'] = 'train.txt'")
    assert f'images/train/town/gone{SUFFIXES[0]} does not exist' in words


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda path: path.write_text('no mask'), 'cannot be read'),
        (lambda path: path.unlink(), 'cannot be read'),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-60]),
            'cannot be read',
        ),
        (
            lambda path: Image.new('L', (16, 16), 5).save(path),
            'holds the ids [5], but there are 5 classes',
        ),
    ],
)
def test_a_wrong_mask_is_named(root, change, message):
    path = mask_path(root, all_names()[11])
    change(path)
    words = refusal(root)
    assert str(path) in words and message in words


@pytest.mark.parametrize(
    'config, message',
    [
        ("data['ann_file'] = 'gone.txt'", 'gone.txt'),
        ("data['img_suffix'] = '.gif'", 'missing or empty'),
        ("data['metainfo'] = None", 'names no classes'),
        ('pipeline.pop()', 'makes no gt_seg_map'),
        ("data['data_prefix'].pop('seg_map_path')", 'cannot be read'),
        (
            "val_dataloader['dataset']['img_suffix'] = '.gif'",
            'val_dataloader.dataset cannot be built',
        ),
        (
            'train_dataloader = dict(dataset=dict('
            "type='ConcatDataset', datasets=[data, data]))",
            'joins 2 data sets',
        ),
        ('del train_dataloader', 'train_dataloader.dataset cannot be built'),
    ],
)
def test_data_without_clear_names_and_masks_are_refused(root, config, message):
    assert message in refusal(root, config=config)


def test_a_class_that_reads_other_lists_is_refused(root):

    @DATASETS.register_module(force=True)
    class FolderDataset(BaseSegDataset):
        def load_data_list(self):
            self.ann_file = ''
            return super().load_data_list()

    words = refusal(root, config="data['type'] = 'FolderDataset'")
    assert 'FolderDataset does not find the same files by a list' in words


def test_a_wrapped_data_set_is_drawn_once(root):
    plain = drawn(root)
    assert (
        drawn(
            root,
            'wrapped',
            config="""
repeat = dict(type='RepeatDataset', times=3, dataset=data)
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[repeat]))
""",
        )
        == plain
    )


def write_parts(root):
    for part, names in (('a', all_names()[::2]), ('b', all_names()[1::2])):
        (root / f'{part}.txt').write_text('\n'.join(names))


def test_both_parts_of_a_semi_supervised_set_are_drawn_anew(root):
    write_parts(root)
    assert drawn(root, 'semi', config=SEMI) == drawn(root)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            "img_path='images/train'), pipeline=[pipeline[0], views]",
            'makes no gt_seg_map',
        ),
        (
            "img_path='other'), pipeline=[pipeline[0], views]",
            'makes no gt_seg_map',
        ),
        ("img_path='other', seg_map_path='masks/train')", 'different folders'),
        ("img_path='images/train', seg_map_path='more')", 'different folders'),
    ],
)
def test_parts_that_cannot_be_joined_are_refused(root, change, message):
    write_parts(root)
    shutil.copytree(root / 'images/train', root / 'other')
    shutil.copytree(root / 'masks/train', root / 'more')
    assert message in refusal(
        root,
        config=f"""{SEMI}
train_dataloader['dataset']['unlabeled'].update(data_prefix=dict({change})
""",
    )


def test_help_says_what_is_drawn_and_how(capsys):
    with (
        mock.patch.object(sys, 'argv', ['make_splits.py', '--help']),
        pytest.raises(SystemExit, match='0'),
    ):
        make_splits.main()
    words = capsys.readouterr().out
    for word in ('every class', '--labeled', '--folds', '--seed', '1/8'):
        assert word in words
