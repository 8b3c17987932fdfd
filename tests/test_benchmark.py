"""tools/benchmark.py on thin networks; times are not asserted."""
import gzip
import json
import runpy
import subprocess
import sys

import pytest
from test_tools import REPO

SHAPES = REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
THIN = [
    'model.segmentor.backbone.base_channels=8',
    'model.segmentor.decode_head.in_channels=64',
    'model.segmentor.decode_head.c1_in_channels=8',
    'model.segmentor.decode_head.channels=8',
    'model.segmentor.decode_head.c1_channels=4'
]


def run(*words):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', REPO / 'tools/benchmark.py',
         *map(str, words)], capture_output=True, text=True)


def measured(tmp_path, *options, sizes=('--crop', 33, '--batch', 2)):
    done = run(SHAPES, *sizes, '--rounds', 1, '--out', tmp_path,
               '--cfg-options', *THIN, *options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads((tmp_path / 'results.json').read_text())


def test_the_floor_is_the_arithmetic_of_a_step_without_tvat(tmp_path):
    out, results = measured(tmp_path, 'model.tvat=None',
                            sizes=('--crop', 33, 49, '--batch', 2))
    small, large = results['sizes']
    for size in small, large:
        cases = size['cases']
        assert cases['step']['tflop'] == cases['floor']['tflop'] > 0
        assert cases['floor']['of_floor'] == 1
        assert cases['port']['images_per_second'] == pytest.approx(
            4 / cases['port']['seconds'])
        assert size['waits']['engine/finite_hook.py:_check'] == 1
        assert not any('message_hub' in caller for caller in size['waits'])
        assert 'T-VAT' not in size['parts']
    assert large['cases']['floor']['tflop'] > small['cases']['floor']['tflop']
    for name in 'step', 'floor', 'port':
        assert out.count(f'\n| {name} |') == 2


def test_parts_of_a_step(tmp_path):
    out, results = measured(tmp_path)
    size, = results['sizes']
    assert size['cases']['step']['tflop'] > size['cases']['floor']['tflop']
    assert size['parts'].keys() >= {
        'preprocessor', 'teachers', 'CutMix', 'student forward', 'T-VAT',
        'backward', 'optimizer', 'EMA', 'hooks and logging'}
    assert all(spent > 0 for spent in size['parts'].values())
    with gzip.open(tmp_path / 'trace_33_2.json.gz') as file:
        names = {event['name'] for event in json.load(file)['traceEvents']}
    assert {*size['parts']} <= names


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(REPO / 'tools/benchmark.py'))


@pytest.mark.parametrize('words', [
    ('no.py', ), (SHAPES, '--crop', 0), (SHAPES, '--amp', 'bfloat16'),
    (SHAPES, '--out', SHAPES)])
def test_wrong_words_are_refused_by_name(words, tool, monkeypatch,
                                         capsys):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, words)])
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(SystemExit):
        tool['parse_args']()
    assert str(words[-2:][0]).split('/')[-1] in capsys.readouterr().err


def test_a_supervised_config_is_refused():
    done = run(str(SHAPES).replace('.py', '_supervised.py'))
    assert done.returncode == 1
    assert 'not PSMT' in done.stderr.strip().splitlines()[-1]
