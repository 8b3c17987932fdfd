"""What the data check says, on drawn shapes that something was done to."""

import io
import os
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import check_data
import numpy as np
import processes
import pytest
import torch
from fake_data import fake_shapes
from mmengine import Config
from mmseg.registry import MODELS
from PIL import Image

from mmseg_psmt.models.psmt import RAMP, WARMUP
from mmseg_psmt.visualization import GAP

REPO = Path(__file__).resolve().parents[2]
CONFIG = REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
FEW = 'train_dataloader.batch_size=4'
TILE = 192  # an image of 64 pixels, enlarged


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    fake_shapes(root / 'shapes', 48, 5)
    return root


@pytest.fixture
def shapes(drawn, tmp_path, monkeypatch):
    """A copy of 6 labeled, 42 unlabeled and 5 images for validation."""
    shutil.copytree(drawn / 'shapes', tmp_path / 'shapes')
    monkeypatch.setenv('PSMT_DATA', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'shapes'


def run(*options, config=CONFIG, more=()):
    """Exit status and words of the tool, run in this process."""
    words = io.StringIO()
    argv = ['check_data.py', config, *more, '--cfg-options', FEW, *options]
    with (
        mock.patch.object(sys, 'argv', list(map(str, argv))),
        mock.patch.dict(os.environ),
        redirect_stdout(words),
        redirect_stderr(words),
    ):
        try:
            check_data.main()
        except SystemExit as error:
            if isinstance(error.code, int):
                return error.code, words.getvalue()
            return 1, str(error.code)
    return 0, words.getvalue()


def listed(shapes, kind):
    folder = shapes / 'ImageSets/Segmentation'
    path = {
        'labeled': folder / 'semi/1_8/labeled.txt',
        'unlabeled': folder / 'semi/1_8/unlabeled.txt',
        'validation': folder / 'val.txt',
    }[kind]
    return path, path.read_text().split()


def image(shapes, name):
    return shapes / f'JPEGImages/{name}.jpg'


def mask(shapes, name):
    return shapes / f'SegmentationClass/{name}.png'


def repaint(path, change):
    """Change the ids of a mask and keep its palette."""
    old = Image.open(path)
    new = Image.fromarray(change(np.array(old)).astype(np.uint8), 'P')
    new.putpalette(old.getpalette())
    new.save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def complaints(words):
    """What stands in the list at the end."""
    return re.findall(r'^- (.*)$', words.partition('not fit:')[2], re.M)


def test_fit_data_are_reported_and_drawn(shapes):
    status, words = run()
    assert status == 0 and words.endswith('\nfit\n')
    assert 'WARNING' not in words
    for kind, count in (('labeled', 6), ('unlabeled', 42), ('validation', 5)):
        path, names = listed(shapes, kind)
        assert len(names) == count
        assert f'{kind}: {count} images, {path}' in words
    masks = [
        np.array(Image.open(mask(shapes, name)))
        for name in listed(shapes, 'labeled')[1]
    ]
    for i, name in enumerate(
        ('background', 'disc', 'square', 'triangle', 'ring', 'cross')
    ):
        images = sum((m == i).any() for m in masks)
        pixels = sum((m == i).sum() for m in masks)
        assert re.search(
            rf'{i} {name} +{images} images +{pixels:,} pixels', words
        )
    assert 'smallest 64 x 64, median 64 x 64, largest 64 x 64' in words
    assert Path(f'work_dirs/{CONFIG.stem}/check_data.png').exists()


def columns(path):
    """Pictures of the five columns, below title and names."""
    sheet, step = np.array(Image.open(path)), TILE + GAP
    assert sheet.shape[1] == 5 * step - GAP
    sheet = np.pad(sheet[42:], ((0, 0), (GAP, 0), (0, 0)))[: 4 * step]
    tiles = sheet.reshape(4, step, 5, step, 3)[:, GAP:, :, GAP:]
    return tiles.transpose(2, 0, 1, 3, 4)


def test_the_sheet_shows_masks_views_and_what_is_mixed(shapes):
    out = Path('new/folder/sheet.png')
    assert run(more=['--out', out])[0] == 0
    labeled, painted, weak, strong, mixed = columns(out)
    mixes = [(strong[i] != mixed[i]).any() for i in range(4)]
    assert all(mixes) and (weak != strong).any()
    for i in range(4):  # boxes of the neighbor, else the image itself
        own = (mixed[i] == strong[i]).all(-1)
        assert (own | (mixed[i] == strong[i - 1]).all(-1)).all()
    run('model.mix=[]', more=['--out', out])
    _, _, _, strong, mixed = columns(out)
    assert (strong == mixed).all()
    files = [
        np.array(Image.open(mask(shapes, name)).convert('RGB'))
        for name in listed(shapes, 'labeled')[1]
    ]
    files += [file[:, ::-1] for file in files]
    for picture in painted:
        assert any((picture[::3, ::3] == file).all() for file in files)


def test_the_schedule_is_counted_in_passes(shapes):
    words = run(
        'model.warmup_iters=9', 'model.ramp_iters=21', more=['--gpus', '2']
    )[1]
    assert '4 pairs x 2 = 8, learning rate 0.1' in words
    for name, length, labeled, unlabeled in (
        ('max_iters', 1000, 8000 / 6, 8000 / 42),
        ('warmup_iters', 9, 12, 72 / 42),
        ('ramp_iters', 21, 28, 4),
        ('alternate_every', 6, 8, 48 / 42),
    ):
        assert re.search(
            rf'{name} +{length} = {labeled:.1f} passes over labeled, '
            rf'{unlabeled:.1f} over',
            words,
        )


@pytest.mark.parametrize('start, share', [('None', WARMUP), ('a.pth', 0)])
def test_lengths_that_are_not_given_follow_the_schedule(shapes, start, share):
    if share == 0:
        save_plain(start)
    words = run(
        'model.warmup_iters=None',
        'model.ramp_iters=None',
        f'load_from={start}',
    )[1]
    assert re.search(rf'warmup_iters +{round(1000 * share)} = ', words)
    assert re.search(rf'ramp_iters +{round(1000 * RAMP)} = ', words)


def test_lengths_and_learning_rate_follow_the_processes(shapes):
    config = child_of_the_config("""
train_cfg = dict(max_iters=400 // int('{{$WORLD_SIZE:1}}'))
auto_scale_lr = dict(enable=True, base_batch_size=4)""")
    words = run(config=config, more=['--gpus', '2'])[1]
    assert '4 pairs x 2 = 8, learning rate 0.2' in words
    assert re.search(r'max_iters +200 = ', words)


def test_a_batch_larger_than_the_labeled_list_is_a_warning(shapes):
    path, names = listed(shapes, 'labeled')
    path.write_text('\n'.join(names[:3]))
    status, words = run()
    assert status == 0
    assert 'WARNING: 3 labeled images are fewer than a batch of 4' in words


def test_a_schedule_of_few_passes_is_a_warning(shapes):
    assert 'WARNING' not in run('train_cfg.max_iters=15')[1]
    status, words = run('train_cfg.max_iters=14')
    assert status == 0
    assert 'WARNING: 14 iterations of 4 are 9.3 passes over the 6' in words
    assert (
        'passes over the 6'
        not in run('train_cfg.max_iters=14', more=['--gpus', '2'])[1]
    )


def save_plain(path, but='nothing'):
    """The segmentor of the config as a checkpoint."""
    net = MODELS.build(Config.fromfile(CONFIG).model.segmentor)
    weights = net.state_dict()
    torch.save(
        {name: weights[name] for name in weights if but not in name}, path
    )


def test_a_start_that_does_not_exist_is_a_problem(shapes):
    status, words = run('load_from=runs/plain.pth')
    (problem,) = complaints(words)
    assert status == 1 and "load_from='runs/plain.pth'" in problem


def test_a_start_with_a_random_head_needs_the_warm_up(shapes):
    save_plain('plain.pth', but='conv_seg')
    words = run('load_from=plain.pth', 'model.warmup_iters=None')[1]
    assert 'WARNING: The decode head begins random' in words
    assert re.search(rf'warmup_iters +{round(1000 * WARMUP)} = ', words)
    words = run('load_from=plain.pth', 'model.warmup_iters=0')[1]
    assert complaints(words)[0].startswith('model.warmup_iters=0')


@pytest.mark.parametrize('option', ['load_from=plain.pth', 'resume=True'])
def test_teachers_that_nothing_trains_are_a_problem(shapes, option):
    save_plain('plain.pth')
    words = run('model.warmup_iters=0')[1]
    (problem,) = complaints(words)
    assert problem.startswith('model.warmup_iters=0, and no checkpoint')
    assert run('model.warmup_iters=0', option)[0] == 0


@pytest.mark.parametrize(
    'hooks, fine',
    [
        ('None', False),
        ('[]', False),
        ("[dict(type='EarlyWarningHook')]", False),
        ("[dict(type='mmseg.TeacherEMAHook')]", True),
        ("[dict(type='mmseg_psmt.engine.TeacherEMAHook')]", True),
    ],
)
def test_a_missing_clock_is_a_problem(shapes, hooks, fine):
    status, words = run(config=child_of_the_config(f'custom_hooks = {hooks}'))
    assert status == (not fine)
    if not fine:
        (problem,) = complaints(words)
        assert 'add it, or take custom_hooks = _base_.psmt.hooks' in problem


def test_another_batch_than_that_of_the_learning_rate_is_a_warning(shapes):
    base = 'auto_scale_lr.base_batch_size=16'
    status, words = run(base)
    assert status == 0
    assert 'WARNING: the learning rate 0.1' in words
    assert 'optim_wrapper.optimizer.lr=0.025' in words
    assert 'WARNING: the learning' not in run(base, more=['--gpus', '4'])[1]
    assert 'WARNING: the l' not in run(base, 'auto_scale_lr.enable=True')[1]
    steps = 'optim_wrapper.accumulative_counts'
    assert 'WARNING: the l' not in run(base, f'{steps}=4')[1]
    words = run(base, f'{steps}=2')[1]
    assert 'optimizer.lr=0.05' in words and 'auto_scale_lr' not in words


def test_a_class_that_nobody_labeled_is_a_warning(shapes):
    for name in listed(shapes, 'labeled')[1]:
        repaint(mask(shapes, name), lambda ids: np.where(ids == 4, 0, ids))
    status, words = run()
    assert status == 0
    assert re.search('4 ring +0 images +0 pixels', words)
    assert 'WARNING: no labeled image holds ring,' in words


def test_an_image_both_labeled_and_unlabeled_is_a_note(shapes):
    assert '0 of the labeled images are unlabeled' in run()[1]
    name = listed(shapes, 'labeled')[1][0]
    path, names = listed(shapes, 'unlabeled')
    path.write_text('\n'.join([*names, name]))
    status, words = run()
    assert status == 0
    assert '1 of the labeled images are unlabeled' in words


@pytest.mark.parametrize('kind', ['labeled', 'unlabeled'])
def test_a_leak_into_the_validation_is_a_problem(shapes, kind):
    held_out = listed(shapes, 'validation')[1][0]
    path, names = listed(shapes, kind)
    copy = image(shapes, 'another_name')
    copy.symlink_to(image(shapes, held_out))
    shutil.copy(mask(shapes, held_out), mask(shapes, 'another_name'))
    path.write_text('\n'.join([*names, 'another_name']))
    status, words = run()
    assert status == 1
    (problem,) = complaints(words)
    assert str(copy) in problem and str(path) in problem
    assert 'validation' in problem and 'take the shared' in problem


@pytest.mark.parametrize('kind', ['labeled', 'unlabeled', 'validation'])
def test_broken_files_are_problems(shapes, kind):
    first, second, third, *_ = listed(shapes, kind)[1]
    cut(image(shapes, first))
    cut(mask(shapes, second))
    image(shapes, third).unlink()
    status, words = run()
    assert status == 1
    problems = complaints(words)
    for path in (
        image(shapes, first),
        mask(shapes, second),
        image(shapes, third),
    ):
        (problem,) = (p for p in problems if p.startswith(str(path)))
        assert 'cannot be read (' in problem and kind in problem


@pytest.mark.parametrize('kind', ['labeled', 'validation'])
def test_ids_that_are_no_class_are_problems(shapes, kind):
    path = mask(shapes, listed(shapes, kind)[1][0])
    repaint(path, lambda ids: np.where(ids == 0, 9, ids))
    status, words = run()
    assert status == 1
    (problem,) = complaints(words)
    assert str(path) in problem and '[9]' in problem
    assert '6 classes' in problem and 'fix' in problem


def test_masks_of_another_size_are_problems(shapes):
    first, second, *_ = listed(shapes, 'labeled')[1]
    repaint(mask(shapes, first), lambda ids: ids[:50])
    Image.open(mask(shapes, second)).convert('RGB').save(mask(shapes, second))
    status, words = run()
    assert status == 1
    small, colored = complaints(words)
    assert str(mask(shapes, first)) in small
    assert '50 x 64' in small and '64 x 64' in small
    assert str(mask(shapes, second)) in colored
    assert '64 x 64 x 3' in colored


def test_many_problems_of_a_kind_are_counted(shapes):
    for name in listed(shapes, 'labeled')[1][:5]:
        repaint(mask(shapes, name), lambda ids: ids + 6)
    problems = complaints(run()[1])
    assert len(problems) == 4 and problems[3] == '... and 2 more like this'


def test_different_problems_are_found_in_one_run(shapes):
    first, second, third, *_ = listed(shapes, 'labeled')[1]
    cut(image(shapes, first))
    repaint(mask(shapes, second), lambda ids: ids + 6)
    repaint(mask(shapes, third), lambda ids: ids[:, :60])
    path, names = listed(shapes, 'validation')
    path.write_text('\n'.join([*names, first, names[0]]))
    listed(shapes, 'unlabeled')[0].unlink()
    status, words = run('model.segmentor.decode_head.num_classes=7')
    assert status == 1
    problems = '\n'.join(complaints(words))
    for path in (
        image(shapes, first),
        mask(shapes, second),
        mask(shapes, third),
    ):
        assert problems.count(f'{path} ') >= 1
    assert 'is in the labeled list' in problems
    assert 'unlabeled.txt does not exist' in problems
    assert 'num_classes is 7, but the labeled' in problems
    assert 'num_classes is 7, but the validation' in problems


@pytest.mark.parametrize(
    'option, named',
    [
        ('model.teachers.decay=2', 'teachers.decay'),
        ('model.ema_decay=0.9', 'It is model.teachers.decay'),
        ('train_dataloader.dataset.labeled.metainfo=None', 'no classes'),
        ('val_dataloader.dataset.data_root=gone', 'gone does not exist'),
    ],
)
def test_a_config_that_cannot_work_is_a_problem(shapes, option, named):
    status, words = run(option)
    assert status == 1
    assert any(named in problem for problem in complaints(words))


@pytest.mark.parametrize('fits', [True, False])
def test_weights_that_do_not_fit_are_a_problem(shapes, fits):
    cfg = Config.fromfile(CONFIG, import_custom_modules=False)
    cfg.model.segmentor.backbone.update({} if fits else dict(base_channels=16))
    weights = MODELS.build(cfg.model.segmentor.backbone).state_dict()
    torch.save(weights, 'net.pth')
    option = 'model.segmentor.backbone.init_cfg'
    status, words = run(
        f'{option}.type=Pretrained', f'{option}.checkpoint=net.pth'
    )
    assert status == (not fits)
    assert fits or 'net.pth does not fit ResNet' in complaints(words)[0]


def test_images_of_different_sizes_make_no_batch(shapes):
    for name in listed(shapes, 'labeled')[1][:3]:
        for path in image(shapes, name), mask(shapes, name):
            with Image.open(path) as picture:
                picture.resize((70, 70), 0).save(path)
    status, words = run()
    assert status == 1
    (problem,) = complaints(words)
    assert 'no batch' in problem and '70, 70' in problem
    assert 'data_preprocessor' in problem


def child_of_the_config(text):
    Path('child.py').write_text(f"""
_base_ = '{CONFIG}'
load = dict(type='LoadImageFromFile')
pack = dict(type='PackSegInputs')
views = dict(type='MultiView', weak=[pack], strong=[pack])
{text}""")
    return 'child.py'


def test_a_training_without_validation_is_fit(shapes):
    status, words = run(config=child_of_the_config('val_dataloader = None'))
    assert status == 0 and 'validation: none' in words


def test_images_below_the_crop_are_counted_and_padding_measured(shapes):
    names = listed(shapes, 'unlabeled')[1]
    for name, height in zip(names, [*range(90, 131), 110]):
        with Image.open(image(shapes, name)) as picture:
            picture.resize((64, height)).save(image(shapes, name))
    status, words = run(
        config=child_of_the_config("""
crop = dict(type='RandomCrop', crop_size=(80, 80))
train_dataloader = dict(
    dataset=dict(unlabeled=dict(pipeline=[load, crop, views])))
model = dict(data_preprocessor=dict(size=(80, 80)))
""")
    )
    assert status == 0
    labeled, unlabeled = words.split('unlabeled: ')[:2]
    assert '6 are smaller' in labeled and '80 x 80' in labeled
    assert 'smallest 90 x 64, median 110 x 64, largest 130 x 64' in unlabeled
    assert '42 are smaller' in unlabeled and '80 x 80' in unlabeled
    assert 'batch: 20.0% of its unlabeled pixels are padding' in words


def call(tool, *words):
    """Status and words of a command, as a user gives it."""
    done = processes.run([REPO / 'tools' / tool, *words])
    return done.returncode, done.stdout


def test_a_folder_of_photos_is_checked_and_trained_on(shapes):
    photos = shapes.parent / 'photos'
    shutil.copytree(shapes / 'JPEGImages', photos)
    cut(photos / 'train_00000.jpg')
    for name in listed(shapes, 'validation')[1]:
        (photos / f'{name}.jpg').unlink()
    child = child_of_the_config("""
unlabeled = dict(
    _delete_=True,
    type='UnlabeledFolder',
    images='photos',
    pipeline=[load, views])
train_dataloader = dict(dataset=dict(unlabeled=unlabeled))
""")
    status, words = call('check_data.py', child, '--cfg-options', FEW)
    assert status == 0, words
    assert '1 of 48 unlabeled images are broken, 47 remain' in words
    assert words.count('48 unlabeled images in photos, decoding each') == 1
    assert 'photos/train_00000.jpg' in words
    assert 'unlabeled: 47 images, photos' in words
    status, words = call(
        'check_data.py',
        child,
        '--cfg-options',
        'val_dataloader.dataset.data_root=gone',
        'train_dataloader.dataset.unlabeled.broken=refuse',
    )
    assert status == 1 and 'Traceback' not in words
    assert 'gone does not exist' in words and "broken='skip'" in words
    status, words = call(
        'train.py',
        child,
        '--work-dir',
        'run',
        '--cfg-options',
        FEW,
        'train_cfg.max_iters=2',
        'model.warmup_iters=1',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.persistent_workers=False',
    )
    assert status == 0, words
    assert list(Path('run').glob('*/vis_data/vis_image/pseudo_labels_2.png'))


@pytest.mark.parametrize(
    'config, named',
    [
        (
            REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8_supervised.py',
            'EncoderDecoder',
        ),
        (REPO / 'configs/_base_/models/deeplabv3plus_r18-d16.py', 'dataset'),
        ('gone.py', 'gone.py'),
    ],
)
def test_other_configs_are_refused(shapes, config, named):
    status, words = run(config=config)
    assert status == 1 and named in words and 'PS-MT' in words


def test_a_schedule_in_epochs_is_refused(shapes):
    status, words = run(
        config=child_of_the_config(
            "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop')"
        )
    )
    assert status == 1 and 'max_iters' in words and 'endless' in words
