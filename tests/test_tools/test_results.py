"""reproduce.py trains and records, results.py reads both."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import processes
import pytest
import reproduce
import torch
from analysis_tools import results
from fake_data import fake_shapes
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric

from mmseg_psmt.engine.logs import class_ious, history

REPO = Path(__file__).resolve().parents[2]

TINY = """
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=9))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""
NET = """dict(
    backbone=dict(base_channels=8),
    decode_head=dict(
        in_channels=64, c1_in_channels=8, channels=8, c1_channels=4))
"""
BASE = f"_base_ = '{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8"
PSMT = f"""{BASE}.py'
model = dict(warmup_iters=1, ramp_iters=200, segmentor={NET}){TINY}
benchmark = dict(
    method='PS-MT', data='A & B_1', protocol='CPS 1/8', published=75.7)
"""
SUPERVISED = f"""{BASE}_supervised.py'
model = {NET}{TINY}benchmark = dict(data='A & B_1', published=None)
"""


def call(tool, root, *words):
    """Exit code and output of a tool."""
    env = {**os.environ, 'PSMT_DATA': str(root), 'OMP_NUM_THREADS': '1'}
    done = processes.run(
        [REPO / f'tools/{tool}.py', *words], cwd=root, env=env
    )
    return done.returncode, done.stdout


def forked(root, *words):
    """As ``call('reproduce', ...)``, but what it starts is forked, too."""

    def run(words, stdout, stderr, env):
        done = processes.run(words[1:], env=env)
        stdout.write(done.stdout)
        return done

    out = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, PSMT_DATA=str(root)),
        redirect_stdout(out),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr('sys.argv', ['reproduce.py', *map(str, words)])
        patch.setattr('subprocess.run', run)
        patch.chdir(root)
        reproduce.main()
    return end.value.code, out.getvalue()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two seeds of two methods, trained and tested in work_dirs."""
    root = tmp_path_factory.mktemp('root')
    fake_shapes(root / 'shapes', 48, 2)
    (root / 'psmt.py').write_text(PSMT)
    (root / 'plain.py').write_text(SUPERVISED)
    code, out = forked(root, 'psmt.py', 'plain.py', '--seeds', 0, 1)
    assert code == 0, out[-3000:]
    assert '0 of 4 done' in out and '4 of 4 done' in out
    assert re.search(r'\| psmt .*\| 0, 1 \| \d+\.\d+ ± ', out)
    return root


@pytest.fixture
def copy(root, tmp_path, monkeypatch):
    """Copies of the four work dirs, without checkpoints, to be changed."""
    monkeypatch.setenv('PSMT_DATA', str(root))
    monkeypatch.chdir(root)
    shutil.copytree(
        root / 'work_dirs',
        tmp_path / 'work_dirs',
        ignore=shutil.ignore_patterns('*.pth'),
    )
    return {
        name: tmp_path / f'work_dirs/{name[:-1]}/seed{name[-1]}'
        for name in ('psmt0', 'psmt1', 'plain0', 'plain1')
    }


def only(paths):
    (path,) = paths
    return path


def edit(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def result(work_dir):
    return only(work_dir.glob('test/*/*.json'))


def start(work_dir):
    """The config, the scalars and the text log of the training."""
    config = only(work_dir.glob('2*/vis_data/config.py'))
    return (
        config,
        config.with_name('scalars.json'),
        only(config.parents[1].glob('*.log')),
    )


def change_entries(work_dir, change):
    file = start(work_dir)[1]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text(
        ''.join(json.dumps(entry) + '\n' for entry in change(lines))
    )


def table(*folders):
    """The rows of trainings, and why others are none."""
    records, notes = results.collect(folders)
    return results.table(records), notes


def files(folder):
    return {path: path.stat().st_mtime for path in folder.rglob('*')}


def test_list_changes_nothing(root):
    before = files(root)
    code, out = call('reproduce', root, 'psmt.py', '--seeds', 1, 2, '--list')
    assert code == 0 and out.count('1 of 2 done') == 1
    assert 'work_dirs/psmt/seed1: done' in out
    assert 'work_dirs/psmt/seed2: to train (from 0)' in out
    assert files(root) == before


def test_a_cut_training_is_named_resumed_and_tested(root, copy):
    cut = root / 'cut/plain/seed0'
    shutil.copytree(root / 'work_dirs/plain/seed0', cut)
    shutil.rmtree(cut / 'test')
    (cut / 'iter_4.pth').unlink()
    (cut / 'last_checkpoint').write_text(str(cut / 'iter_2.pth'))
    change_entries(
        cut, lambda lines: [{**entry, 'time': 7200.0} for entry in lines[:3]]
    )
    log = start(cut)[2]
    log.write_text(log.read_text().partition('Saving checkpoint at 4')[0])
    rows, notes = table(cut)
    assert not rows
    assert notes == [f'{cut} is not finished (3 of 4 iterations)']
    assert reproduce.state(Path('plain.py'), cut) == 'to train (from 2)'
    code, out = forked(root, 'plain.py', '--seeds', 0, '--work-dirs', 'cut')
    assert code == 0 and '1 of 1 done' in out, out[-3000:]
    again = sorted(cut.glob('2*/vis_data/scalars.json'))[-1]
    assert json.loads(again.read_text().splitlines()[0])['step'] == 3
    (row,), _ = table(cut)
    assert row['hours'] == '4.00'  # the third iteration counts once
    assert row['batch'] == '2' and row['seed'] == '0'
    mean = json.loads(result(cut).read_text())['mIoU']
    assert row['student'] == f'{mean:.2f}'
    (record,) = results.read_csv(root / 'cut/results.csv')
    assert (record['config'], record['seed']) == ('plain', '0')


def test_what_remains_depends_on_the_config(root, copy):
    done = root / 'work_dirs/psmt/seed0'
    for name, line, state in (
        ('more', 'train_cfg = dict(max_iters=6)', 'to train (from 4)'),
        ('other', 'model = dict(unsup_weight=9)', 'model changed'),
    ):
        config = root / f'{name}.py'
        config.write_text(f"_base_ = 'psmt.py'\n{line}\n")
        assert state in reproduce.state(config, done)
    shutil.rmtree(copy['psmt0'] / 'test')
    config = start(copy['psmt0'])[0]
    config.write_text(f'{config.read_text()}\ncommit = "g1a"\n')
    assert reproduce.state(root / 'psmt.py', copy['psmt0']) == 'to test'


def test_a_failure_shows_its_log_and_what_is_done_is_skipped(root):
    (root / 'broken.py').write_text(
        "_base_ = 'plain.py'\n"
        "train_dataloader = dict(dataset=dict(ann_file='gone.txt'))\n"
    )
    before = files(root / 'work_dirs/psmt')
    code, out = forked(root, 'broken.py', 'psmt.py', '--seeds', 0)
    assert code == 1 and out.count('1 of 2 done') == 2
    assert re.search(r'seed0 failed with exit code 1:(.*\n)+.*gone.txt', out)
    assert out.count('broken/seed0: to train (from 0)') == 2
    assert '| psmt |' in out and '| broken |' not in out
    assert files(root / 'work_dirs/psmt') == before
    assert (
        'Iter(train)' in (root / 'work_dirs/psmt/seed0/train.log').read_text()
    )


def test_mean_deviation_and_gain(copy):
    rows, _ = table(*copy.values())
    assert [row['seed'] for row in rows] == ['0, 1', '0, 1']
    assert [row['method'] for row in rows] == ['PS-MT', 'supervised']
    for row, name in zip(rows, ('psmt', 'plain')):
        metrics = [
            json.loads(result(copy[f'{name}{seed}']).read_text())
            for seed in (0, 1)
        ]
        columns = {'teachers': 'mIoU', 'student': 'student/mIoU'}
        if name == 'plain':
            assert row['teachers'] == row['gain'] == ''
            columns = {'student': 'mIoU'}
        for column, key in columns.items():
            values = [metric[key] for metric in metrics]
            assert (
                row[column] == f'{np.mean(values):.2f} ± {np.std(values):.2f}'
            )
    for name, value in ('psmt0', 40.0), ('psmt1', 43.0):
        result(copy[name]).write_text(
            json.dumps({'mIoU': value, 'student/mIoU': value - 10})
        )
    for name, value in ('plain0', 38.0), ('plain1', 39.0):
        result(copy[name]).write_text(json.dumps({'mIoU': value}))
    (row, _), _ = table(*copy.values())
    assert row['teachers'] == '41.50 ± 1.50'
    assert row['student'] == '31.50 ± 1.50'
    assert row['gain'] == '+3.00 ± 1.00'
    (row, _), _ = table(copy['psmt0'], copy['psmt1'], copy['plain1'])
    assert row['gain'] == '+4.00'  # of the seed that both have


def record(config, **cells):
    return (
        dict(
            config=config,
            images='val',
            iterations='4',
            seed='0',
            method='PSMT',
            student=40.0,
            curve={'2': 30.0, '4': 40.0},
        )
        | cells
    )


@pytest.mark.parametrize(
    'twins, gain',
    [
        ([dict(config='plain')], '+2.00'),
        ([dict(config='plain', iterations='8')], ''),
        ([dict(config='plain', images='test')], ''),
        ([dict(config='plain', list='1234abcd')], ''),
        ([dict(config='plain', overrides='a=1')], ''),
        ([dict(config='plain', seed='1')], ''),
        ([dict(config='plain'), dict(config='other')], ''),
        ([dict(config='a_supervised'), dict(config='other')], '+2.00'),
    ],
)
def test_the_twin_has_the_same_labels_and_updates(twins, gain):
    rows = results.table(
        [
            record('a', teachers=42.0),
            *(record(**{'method': 'supervised', **twin}) for twin in twins),
        ]
    )
    assert rows[0]['gain'] == gain


def append(config, line):
    config.write_text(f'{config.read_text()}\n{line}\n')


def test_cells_of_config_and_lists(root, copy):
    file = root / 'shapes/ImageSets/Segmentation/semi/1_8/labeled.txt'
    names = file.read_text().split()
    file.with_name('turned.txt').write_text('\n'.join(sorted(names)[::-1]))
    edit(start(copy['psmt0'])[0], ('semi/1_8/labeled', 'semi/1_8/turned'))
    append(start(copy['psmt0'])[0], 'commit = "g1a"')
    (row,), _ = table(copy['psmt0'])
    text = '\n'.join(sorted(names)) + '\n'
    assert row['list'] == hashlib.sha256(text.encode()).hexdigest()[:8]
    assert row['labeled'] == str(len(names)) == '6'
    assert (
        row['iterations'],
        row['batch'],
        row['config'],
        row['images'],
        row['device'],
        row['GiB'],
        row['commit'],
    ) == ('4', '2', 'psmt', 'val', '1 x CPU', '', 'g1a')
    assert f'Python {sys.version.split()[0]}, PyTorch 2' in row['versions']
    edit(start(copy['psmt0'])[0], ('semi/1_8/turned', 'semi/1_8/away'))
    (row,), _ = table(copy['psmt0'])
    assert row['list'] == row['labeled'] == ''


def test_published_values_need_the_same_protocol(root, copy):
    file = root / 'shapes/ImageSets/Segmentation/semi/1_8/protocol.txt'
    other = '– (75.70 with CPS 1/8)'
    for protocol, cell in ('CPS 1/8', '75.70'), ('U2PL 1/8', other):
        file.write_text(f'{protocol}\n')
        rows, _ = table(copy['psmt0'], copy['plain0'])
        assert [row['protocol'] for row in rows] == [protocol] * 2
        assert [row['published'] for row in rows] == [cell, '']
    file.unlink()
    assert table(copy['psmt0'])[0][0]['published'] == other


def test_a_test_counts_only_for_the_last_checkpoint_as_trained(copy):
    config = only(copy['plain0'].glob('test/*/vis_data/config.py'))
    text = config.read_text()
    note = (
        f'{copy["plain0"]} was not tested: run tools/test.py CONFIG '
        f'{copy["plain0"]}/iter_4.pth, whose results go to '
        f'{copy["plain0"]}/test'
    )
    for old, new in (
        ('/iter_4.pth', '/best_mIoU_iter_4.pth'),
        ('base_channels=8', 'base_channels=4'),
        ('/val.txt', '/train.txt'),
    ):
        edit(config, (old, new))
        assert table(copy['plain0']) == ([], [note])
        config.write_text(text)
    assert table(copy['plain0'])[0]
    lengths = only(copy['psmt0'].glob('test/*/vis_data/config.py'))
    edit(lengths, ('warmup_iters=1', 'warmup_iters=2'))
    edit(lengths, ('ramp_iters=200', 'ramp_iters=100'))
    edit(lengths, ('ramp_iters=100', 'ramp_iters=100, alternate_every=3'))
    assert table(copy['psmt0'])[0]
    test = config.parents[1]
    test.rename(test.with_name('20000101_000000'))
    assert table(copy['plain0']) == ([], [note])


def test_an_untested_seed_is_named(copy):
    shutil.rmtree(copy['psmt1'] / 'test')
    (row,), (note,) = table(copy['psmt0'], copy['psmt1'])
    assert row['seed'] == '0' and '±' not in row['teachers']
    assert note.startswith(f'{copy["psmt1"]} was not tested')
    start(copy['psmt1'])[2].unlink()
    _, (note,) = table(copy['psmt0'].parent)
    assert note == f'{copy["psmt1"]} holds no log of a training'


def test_a_start_afresh_voids_the_earlier_one(copy):
    first = start(copy['plain0'])[0].parents[1]
    shutil.copytree(first, first.with_name('29990101_000000'))
    new = first.with_name('29990101_000000')
    (new / f'{first.name}.log').rename(new / f'{new.name}.log')
    edit(new / f'{new.name}.log', ('Saving checkpoint', ''))
    lines = (new / 'vis_data/scalars.json').read_text().splitlines()
    (new / 'vis_data/scalars.json').write_text(f'{lines[0]}\n')
    edit(first / f'{first.name}.log', ('GPU number: 1', 'GPU number: 2'))
    for resume, batch in (False, '2'), (True, '4 then 2'):
        append(new / 'vis_data/config.py', f'resume = {resume}')
        _, (note,) = table(copy['plain0'])
        assert note.endswith('is not finished (1 of 4 iterations)')
        entry = dict(json.loads(lines[-1]), step=2)
        (new / 'vis_data/scalars.json').write_text(
            f'{lines[0]}\n{json.dumps(entry)}\n'
        )
        record = results.read(copy['plain0'], validation=True)
        assert (record['batch'], record['iterations']) == (batch, '2')
        (new / 'vis_data/scalars.json').write_text(f'{lines[0]}\n')


def test_time_memory_and_machine_come_from_the_log(copy):
    change_entries(
        copy['psmt0'],
        lambda lines: [
            {**entry, 'time': 1800.0, 'memory': 1024 * entry['step']}
            for entry in lines
            if entry['step'] != 3
        ],
    )
    edit(
        start(copy['psmt0'])[2],
        ('CUDA available: False', 'CUDA available: True\n    GPU 0,1: Card'),
        ('GPU number: 1', 'GPU number: 2'),
    )
    (row,), _ = table(copy['psmt0'])
    assert (row['hours'], row['GiB']) == ('2.00', '4.00')
    assert (row['device'], row['batch']) == ('2 x Card', '4')


def test_another_commit_is_named_and_another_config_is_another_row(copy):
    for name in copy:
        append(start(copy[name])[0], 'commit = "g0"')
    append(start(copy['psmt0'])[0], 'commit = "g1a"')
    append(start(copy['plain0'])[0], 'extra = 1')
    rows, _ = table(*copy.values())
    assert [row['seed'] for row in rows] == ['0, 1', '0', '1']
    assert [row['commit'] for row in rows] == ['g1a, g0', 'g0', 'g0']


def test_csv_and_latex(root, copy):
    edit(
        start(copy['psmt0'])[0], ('A & B_1', 'a,"b" & 50%_\\\\{#$}~^|')
    )  # one backslash, in a literal
    rows, _ = table(copy['psmt0'], copy['plain0'])
    name = 'a,"b" & 50%_\\{#$}~^|'
    assert rows[0]['data'] == name
    parsed = [*csv.DictReader(io.StringIO(results.render(rows, 'csv')))]
    assert parsed == rows
    latex = results.render(rows, 'latex').splitlines()
    assert (
        r'a,"b" \& 50\%\_\textbackslash{}\{\#\$\}\textasciitilde{}'
        r'\textasciicircum{}\textbar{} & '
    ) in latex[3]
    for line in latex[1], *latex[3:5]:
        assert len(re.findall(r'(?<!\\)&', line)) == len(rows[0]) - 1
    markdown = results.render(rows).splitlines()
    for line in markdown[:4]:
        assert len(re.findall(r'(?<!\\)\|', line)) == len(rows[0]) + 1


def test_a_row_is_replaced_by_a_newer_one_of_the_same_run(copy, tmp_path):
    own, twin = (results.read(copy[name]) for name in ('psmt0', 'plain0'))
    file = tmp_path / 'new/results.csv'
    results.write_csv(file, [own, twin])
    rows = [*csv.DictReader(file.open(newline=''))]
    assert [*rows[0]] == [*results.COLUMNS] and len(rows) == 2
    results.write_csv(file, [{**own, 'teachers': 0.0, 'student': 61.5}])
    results.write_csv(file, [{**own, 'seed': '1'}, {**own, 'iterations': '8'}])
    again = results.read_csv(file)
    assert len(again) == 4
    assert (again[0]['teachers'], again[0]['student']) == (0.0, 61.5)
    assert again[0]['IoU'].keys() == own['IoU'].keys() and len(own['IoU']) == 6
    assert again[1]['curve'] == {'4': pytest.approx(twin['student'], abs=0.01)}
    assert (
        results.table(again[1:2])[0]['student']
        == results.table([twin])[0]['student']
    )


def test_a_table_leaves_out_what_nobody_measured(copy):
    (row,), (both, _) = (
        results.compact(results.collect(paths)[0])
        for paths in ([copy['plain0']], [copy['plain0'], copy['psmt0']])
    )
    assert [*row] == [
        'config',
        'images',
        'labeled',
        'iterations',
        'seed',
        'student',
        'hours',
    ]
    assert both['teachers'] == '–'


def test_command_line(root, copy, tmp_path):
    tool = 'analysis_tools/results'
    code, out = call(tool, root, tmp_path / 'nowhere')
    assert code == 1 and f'{tmp_path}/nowhere is neither' in out
    (tmp_path / 'empty').mkdir()
    code, out = call(tool, root, tmp_path / 'empty')
    assert code == 1 and f'{tmp_path}/empty holds no log' in out
    code, out = call(
        tool,
        root,
        tmp_path / 'empty',
        copy['psmt0'],
        copy['psmt0'],
        '--plot',
        tmp_path / 'a/curves.png',
    )
    assert code == 0, out
    assert out.count('| psmt | val | 6 | 4 | 0 |') == 1
    assert f'{tmp_path}/empty holds no log' in out
    assert f'curves: {tmp_path}/a/curves.png' in out
    assert (tmp_path / 'a/curves.png').stat().st_size > 1000
    code, out = call(
        tool,
        root,
        root / 'work_dirs/results.csv',
        '--only',
        'plain on *',
        '--format',
        'csv',
    )
    assert code == 0, out
    rows = [*csv.DictReader(io.StringIO(out))]
    assert [(row['config'], row['seed']) for row in rows] == [
        ('plain', '0, 1')
    ]
    code, out = call(tool, root, root / 'work_dirs/results.csv', '--only', 'a')
    assert code == 1 and 'matches --only' in out
    (tmp_path / 'other.csv').write_text('a,b\n1,2\n')
    code, out = call(tool, root, tmp_path / 'other.csv')
    assert code == 1 and f'{tmp_path}/other.csv holds no records' in out


def test_variants_are_validated_not_tested_side_by_side(root):
    words = ['plain.py', '--seeds', 0, '--jobs', 2]
    for lr in (0.1, 0.2):
        words += [
            '--vary',
            f'optim_wrapper.optimizer.lr={lr}',
            'model.decode_head.dropout_ratio=0.',
        ]
    code, out = call('reproduce', root, *words)
    assert code == 0 and '0 of 2 done' in out and '2 of 2 done' in out
    for lr in (0.1, 0.2):
        name = (
            f'plain+optim_wrapper.optimizer.lr={lr}+'
            'model.decode_head.dropout_ratio=0.'
        )
        folder = root / f'work_dirs/{name}/seed0'
        cfg = results.load(only(folder.glob('2*')))
        assert cfg.optim_wrapper.optimizer.lr == lr
        assert cfg.model.decode_head.dropout_ratio == 0
        assert not (folder / 'test').exists()
        lines = only(folder.glob('2*/vis_data/scalars.json')).read_text()
        last = json.loads(lines.splitlines()[-1])
        options = (
            f'optim_wrapper.optimizer.lr={lr} + '
            'model.decode_head.dropout_ratio=0.'
        )
        assert (
            f'| plain + {options} | val | 6 | 4 | 0 | '
            f'{last["mIoU"]:.2f} |' in out
        )
    before = files(root / 'work_dirs/plain')
    records = (root / 'work_dirs/results.csv').read_text()
    assert records.count('dropout_ratio=0.,val,') == 2
    code, out = call('reproduce', root, *words)
    assert code == 0 and 'training' not in out
    assert files(root / 'work_dirs/plain') == before
    assert (root / 'work_dirs/results.csv').read_text() == records
    other = root / 'work_dirs/plain/seed0'
    assert 'optim_wrapper changed' in reproduce.state(
        root / 'plain.py', other, ['optim_wrapper.optimizer.lr=0.3']
    )


def test_a_validation_without_miou_is_told_from_none(copy):
    file = start(copy['psmt0'])[1]
    lines = file.read_text().replace('"mIoU"', '"mDice"').splitlines()
    file.write_text('\n'.join(lines))
    with pytest.raises(results.NoResult, match='without mIoU: add it to'):
        results.read(copy['psmt0'], validation=True)
    lines = [line for line in lines if 'aAcc' not in line]
    file.write_text('\n'.join(lines))
    with pytest.raises(results.NoResult, match='was not validated'):
        results.read(copy['psmt0'], validation=True)


def test_a_run_starts_from_another_of_its_seed(root, monkeypatch):
    monkeypatch.setenv('PSMT_DATA', str(root))
    (root / 'second.py').write_text(
        "_base_ = 'plain.py'\nload_from = '{{$PSMT_WORK_DIRS:gone}}/plain/"
        "seed{{$PSMT_SEED:9}}/iter_4.pth'\n"
        'optim_wrapper = dict(optimizer=dict(lr=0.))\n'
        'param_scheduler = []\n'
    )
    code, out = forked(root, 'second.py', '--csv', 'second.csv')
    assert code == 1 and '2 of 3 done' in out  # there is no third plain
    for seed in (0, 1):
        own = root / f'work_dirs/second/seed{seed}'
        cfg = results.load(only(own.glob('2*')))
        assert cfg.load_from == f'work_dirs/plain/seed{seed}/iter_4.pth'
        assert reproduce.state(root / 'second.py', own) == 'done'
    (row,) = results.table(results.read_csv(root / 'second.csv'))
    assert row['seed'] == '0, 1'
    for other in 'plain/seed0/iter_2.pth', 'net.pth':
        config = root / 'other_start.py'
        config.write_text(
            f"_base_ = 'second.py'\nload_from = 'work_dirs/{other}'\n"
        )
        assert 'load_from changed' in reproduce.state(config, own)


def test_what_was_tested_is_done_without_its_weights(root, copy):
    assert reproduce.state(root / 'psmt.py', copy['psmt0']) == 'done'
    with open(start(copy['psmt0'])[1]) as file:
        last = json.loads(file.read().splitlines()[-1])
    record = results.read(copy['psmt0'], validation=True)
    assert record['iterations'] == '4'
    assert record['student'] == last['student/mIoU']


TABLE = """per class results:
+-------+-------+------+
| Class |  IoU  | Acc  |
+-------+-------+------+
|  sky  | {0} | 99.0 |
| a car | {1} | 9.0  |
+-------+-------+------+
"""


def test_nets_and_classes_of_the_tests(copy):
    metrics = {'mIoU': 40.0, 'student/mIoU': 30.0, 'teacher2/mIoU': 20.0}
    for name in ('psmt0', 'psmt1'):
        result(copy[name]).write_text(json.dumps(metrics))
        metrics = {key: value + 2 for key, value in metrics.items()}
    for name, iou, miou in ('psmt0', 12.5, 40.0), ('psmt1', 13.5, 42.0):
        # teachers, student, and here teacher 2
        result(copy[name]).with_suffix('.log').write_text(
            TABLE.format(iou, 2 * miou - iou)
            + TABLE.format(miou - 10, miou - 10)
            + TABLE.format(miou - 20, miou - 20)
        )
    records, _ = results.collect([copy['psmt0'], copy['psmt1']])
    (row,) = results.table(records)
    assert [row[net] for net in results.NETS] == [
        '41.00 ± 1.00',
        '31.00 ± 1.00',
        '',
        '21.00 ± 1.00',
    ]
    rows = results.classes(records)
    assert rows == [
        {'IoU': 'sky', 'psmt on val': '13.00 ± 0.50'},
        {'IoU': 'a car', 'psmt on val': '69.00 ± 1.50'},
    ]
    config = result(copy['psmt0']).parent / 'vis_data/config.py'
    config.write_text(
        config.read_text() + "model['predict_with'] = ["
        "'teacher1', 'student', 'teachers']\n"
    )
    metrics = {'mIoU': 40.0, 'student/mIoU': 30.0, 'teachers/mIoU': 20.0}
    result(copy['psmt0']).write_text(json.dumps(metrics))
    record = results.read(copy['psmt0'])
    assert [record.get(net) for net in results.NETS] == [
        20.0,
        30.0,
        40.0,
        None,
    ]


def test_runs_of_different_nets_make_no_mean():
    rows = results.table([record('a'), record('a', seed='1', teachers=60.0)])
    assert [(row['teachers'], row['student']) for row in rows] == [
        ('', '40.00'),
        ('60.00', '40.00'),
    ]


def test_ious_of_each_net_are_read_from_a_log(tmp_path):
    log = tmp_path / 'train.log'
    other = TABLE.replace(' IoU ', ' Dice')  # of another metric
    log.write_text(
        TABLE.format(1.0, 2.0)  # of an earlier evaluation
        + TABLE.format(81.5, 'nan')
        + TABLE.format(7.0, 100.0)
        + TABLE.format(20.0, 30.01)  # of another evaluator
        + other.format(81.5, 81.5)
    )
    first, second = class_ious(log, [81.5, 53.5])
    assert first['sky'] == 81.5 and first['a car'] != first['a car']
    assert second == {'sky': 7.0, 'a car': 100.0}
    assert class_ious(log, [53.5]) == [second]
    assert class_ious(log, [99.0]) == [{}]
    log.write_text(TABLE.format(40.0, 60.0) + TABLE.format(60.0, 40.0))
    first, second = class_ious(log, [50.0, 50.0])
    assert (first['sky'], second['sky']) == (40.0, 60.0)


def test_ious_stand_where_the_metric_puts_them(tmp_path):
    metric = IoUMetric(iou_metrics=['mDice', 'mIoU'])
    metric.dataset_meta = dict(classes=['a|b', 'c d'])
    log = tmp_path / 'one.log'
    logger = MMLogger('one', log_file=str(log), log_level='INFO')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MMLogger, 'get_current_instance', lambda: logger)
        counts = [
            torch.tensor(x) for x in ([1.0, 3], [4.0, 4], [3.0, 4], [2.0, 3])
        ]
        miou = metric.compute_metrics([counts])['mIoU']
    assert class_ious(log, [miou]) == [{'a|b': 25.0, 'c d': 75.0}]


def test_an_export_beside_the_logs_renames_no_run(copy):
    name = results.read(copy['psmt0'])['config']
    for suffix in '.pth', '.py':
        (copy['psmt0'] / f'plain_iter_4{suffix}').touch()
    assert results.read(copy['psmt0'])['config'] == name


def test_rows_of_one_name_are_told_apart(capsys):
    runs = [
        record('a', iterations='10', IoU={'sky': 1.0}),
        record('a', iterations='20', IoU={'sky': 2.0}),
        record('b', IoU={'sky': 3.0}),
    ]
    (row,) = results.classes(runs)
    assert [*row] == [
        'IoU',
        'a on val (iterations 10)',
        'a on val (iterations 20)',
        'b on val',
    ]
    assert [*row.values()][1:] == ['1.00', '2.00', '3.00']


def test_a_line_that_a_kill_cut_off_is_left_out(copy):
    file = start(copy['psmt0'])[1]
    before = results.read(copy['psmt0'], validation=True)
    text = file.read_text()
    file.write_text(f'{text.rstrip()}\n{{"lr": 0.1, "st')
    with pytest.warns(UserWarning, match='scalars.json: the last line is cut'):
        after = results.read(copy['psmt0'], validation=True)
    assert str(after) == str(before)  # with NaN
    file.write_text(f'{{"lr": 0.1\n{text}')
    with pytest.raises(ValueError, match='scalars.json cannot be read'):
        results.read(copy['psmt0'], validation=True)


def test_a_run_that_cannot_be_read_stops_no_other(root, copy):
    file = start(copy['psmt0'])[1]
    file.write_text(f'no json\n{file.read_text()}')
    words = reproduce.state(root / 'psmt.py', copy['psmt0'])
    assert 'scalars.json cannot be read' in words and 'Move' in words


def test_the_net_that_is_compared_has_its_ious_and_curve(copy):
    config, scalars, log = start(copy['psmt0'])
    before = results.read(copy['psmt0'], validation=True)
    config.write_text(
        f'{config.read_text()}\n'
        "model['predict_with'] = ['student', 'teachers']"
    )
    text = scalars.read_text().replace('"mIoU"', '"teachers/mIoU"')
    scalars.write_text(text.replace('"student/mIoU"', '"mIoU"'))
    after = results.read(copy['psmt0'], validation=True)
    for key in ('teachers', 'student', 'curve'):
        assert after[key] == before[key]
    assert str(after['IoU']) == str(before['IoU'])  # with NaN


def log_starts(work_dir, *each):
    """Starts of a training: whether it resumed, and mIoU by step."""
    for i, (resume, steps) in enumerate(each):
        folder = work_dir / f'{i}/vis_data'
        folder.mkdir(parents=True)
        (folder / 'config.py').write_text(f'resume = {resume}')
        (work_dir / f'{i}/{i}.log').touch()
        (folder / 'scalars.json').write_text(
            ''.join(
                json.dumps(dict(step=step, mIoU=x)) + '\n'
                for step, x in steps.items()
            )
        )
    return work_dir


def curve(work_dir):
    return [(entry['step'], entry['mIoU']) for entry in history(work_dir)[1]]


def test_an_abandoned_training_is_not_part_of_the_next(tmp_path):
    run = log_starts(
        tmp_path,
        (False, {2: 10.0, 6: 20.0, 12: 30.0}),
        (False, {4: 11.0, 8: 21.0}),
    )
    assert curve(run) == [(4, 11.0), (8, 21.0)]


def test_what_was_trained_again_is_void(tmp_path):
    run = log_starts(
        tmp_path, (False, {4: 10.0, 8: 20.0, 10: 30.0}), (True, {8: 21.0})
    )
    assert curve(run) == [(4, 10.0), (8, 21.0)]


def test_each_seed_has_a_config_of_its_own(copy, tmp_path):
    config = tmp_path / 'lists.py'
    config.write_text(
        Path('plain.py').read_text() + "seed_of_the_run = '{{$PSMT_SEED:0}}'\n"
    )
    for seed in (0, 1):
        dumped = start(copy[f'plain{seed}'])[0]
        append(dumped, f"seed_of_the_run = '{seed}'")
        environment = {**os.environ}
        assert reproduce.state(config, copy[f'plain{seed}']) == 'done'
        assert os.environ == environment


def test_a_moved_work_dir_is_found(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('elsewhere/iter_4.pth')
    assert results.last_checkpoint(tmp_path) == 'elsewhere/iter_4.pth'
    (tmp_path / 'iter_4.pth').touch()
    assert results.last_checkpoint(tmp_path) == f'{tmp_path}/iter_4.pth'


@pytest.mark.parametrize(
    'file, text, begun',
    [
        ('last_checkpoint', 'out_dir/run/iter_4.pth', True),
        ('iter_4.pth', '', True),
        ('best_mIoU_iter_4.pth', '', False),
    ],
)
def test_what_has_begun_is_resumed(tmp_path, file, text, begun):
    (tmp_path / file).write_text(text)
    assert reproduce.begun(tmp_path) == begun
