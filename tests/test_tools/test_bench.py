"""The bench of defaults: its configs, and what it says of results."""

import json

import bench
import pytest
from analysis_tools import results
from mmengine import Config
from PIL import Image


def runs(name, seed, twin, psmt, student):
    """The records of a twin and of PS-MT: mIoU and IoU of each class."""
    common = dict(images='test', seed=seed, hours=0.5)
    return [
        dict(
            common, config=f'{name}_supervised', student=twin[0], IoU=twin[1]
        ),
        dict(
            common, config=name, teachers=psmt[0], student=student, IoU=psmt[1]
        ),
    ]


RECORDS = [
    *runs(
        'good',
        '0',
        (30.0, dict(sky=40.0, car=20.0)),
        (34.0, dict(sky=44.0, car=24.0)),
        33.0,
    ),
    *runs(
        'good',
        '1',
        (32.0, dict(sky=40.0, car=24.0)),
        (37.0, dict(sky=50.0, car=24.0)),
        36.0,
    ),
    *runs(
        'bad',
        '0',
        (30.0, dict(sky=45.0, car=16.0, bus=14.0)),
        (29.0, dict(sky=50.0, car=7.0, bus=0.0)),
        28.0,
    ),
    *runs('alone', '0', (30.0, dict(sky=45.0)), (29.0, dict(sky=50.0)), 28.0)[
        1:
    ],
]


def test_the_worst_cell_comes_first_and_lost_classes_are_named():
    lines = bench.render(bench.pairs(RECORDS)).splitlines()
    assert lines[0].startswith('| mIoU on test')
    assert lines[2] == (
        '| bad | 1 | 30.00 | 29.00 | 28.00 | -1.00 | -2.00 | car | 1.0 |'
    )
    assert lines[3] == (
        '| good | 2 | 31.00 ± 1.00 | 35.50 ± 1.50 | '
        '34.50 ± 1.50 | +4.50 ± 0.50 | +3.50 ± 0.50 | – | 1.0 |'
    )
    assert lines[-1] == 'worst -1.00 (bad), mean +1.75 of 2 cells'


def test_a_table_is_made_again_from_what_was_saved(tmp_path):
    results.write_csv(tmp_path / 'bench.csv', RECORDS)
    again = results.read_csv(tmp_path / 'bench.csv')
    assert bench.render(bench.pairs(again)) == bench.render(
        bench.pairs(RECORDS)
    )


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    """A data set with as many images as two classes need, and its configs."""
    root = tmp_path_factory.mktemp('bench')
    data = root / 'a set'
    for folder in (
        'JPEGImages',
        'SegmentationClass',
        'ImageSets/Segmentation',
    ):
        (data / folder).mkdir(parents=True)
    names = [f'{i:02}' for i in range(12)]
    for i, name in enumerate(names):
        mask = Image.new('L', (40, 32), i % 2)
        mask.paste(1 - i % 2, (10, 10, 24 + i, 20))
        mask.save(data / f'SegmentationClass/{name}.png')
        mask.point(lambda x: 200 * x).convert('RGB').save(
            data / f'JPEGImages/{name}.jpg'
        )
    for part, chosen in (
        ('train', names[:8]),
        ('val', names[8:10]),
        ('test', names[10:]),
    ):
        (data / f'ImageSets/Segmentation/{part}.txt').write_text(
            '\n'.join(chosen)
        )
    (data / 'meta.json').write_text(json.dumps(dict(classes=['off', 'on'])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'sys.argv',
            [
                'bench.py',
                str(data),
                '--nets',
                'segformer',
                '--shares',
                '1/4',
                '--side',
                '32',
                '--crop',
                '32',
                '--iters',
                '20',
                '--out',
                str(root / 'out'),
            ],
        )
        args = bench.parse_args()
        return bench.write(args, data, 'segformer', '1/4')


def test_a_cell_differs_from_its_twin_in_the_method_alone(cell):
    psmt = Config.fromfile(cell)
    twin = Config.fromfile(cell.with_name(f'{cell.stem}_supervised.py'))
    assert psmt.model.type == 'PSMT'
    assert psmt.model.segmentor == twin.model
    loader = psmt.train_dataloader
    assert loader.dataset.labeled == twin.train_dataloader.dataset
    for key in (
        'train_cfg',
        'param_scheduler',
        'optim_wrapper',
        'test_dataloader',
    ):
        assert psmt[key] == twin[key], key
    assert psmt.train_cfg.max_iters == 20
    assert psmt.optim_wrapper.optimizer == bench.NETS['segformer']['optimizer']


def test_other_options_need_another_folder(cell, monkeypatch):
    """Or the table of the first would pass for theirs."""
    out, data = cell.parents[1], cell.parents[2] / 'a set'
    words = ['bench.py', str(data), '--out', str(out), '--iters', '20']
    same = [*words, '--side', '32', '--crop', '32', '--weights', 'net.pth']
    for argv, fine in (
        (same, True),
        ([*same, '--crop', '17'], False),
        ([*same, '--side', '50'], False),
    ):
        monkeypatch.setattr('sys.argv', argv)
        args = bench.parse_args()
        if fine:
            assert bench.write(args, data, 'segformer', '1/4') == cell
            continue
        with pytest.raises(SystemExit, match='other options'):
            bench.write(args, data, 'segformer', '1/4')


def test_every_training_image_is_labeled_or_a_photo(cell):
    lists = cell.parents[1] / 'a set_segformer_1-4/lists'
    labeled = (lists / 'labeled.txt').read_text().split()
    photos = (lists / 'photos.txt').read_text().splitlines()
    assert len(labeled) == 2
    stems = {photo.rpartition('/')[2].removesuffix('.jpg') for photo in photos}
    assert stems | {*labeled} == {f'{i:02}' for i in range(8)}
    assert not stems & {*labeled}


def test_the_test_images_choose_no_setting(monkeypatch, capsys, tmp_path):
    (tmp_path / 'meta.json').write_text('{}')
    monkeypatch.setattr(
        'sys.argv',
        ['bench.py', str(tmp_path), '--vary', 'model.tvat=None', '--csv', 'x'],
    )
    with pytest.raises(SystemExit):
        bench.parse_args()
    assert '--vary has none of' in capsys.readouterr().err
