"""tools/benchmark.py on thin networks; times are not asserted."""
import gzip
import json
import runpy
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from test_tools import REPO
from torch.autograd import DeviceType

from mmseg_psmt.models import psmt

SHAPES = REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
THIN = [
    'model.segmentor.backbone.base_channels=8',
    'model.segmentor.decode_head.in_channels=64',
    'model.segmentor.decode_head.c1_in_channels=8',
    'model.segmentor.decode_head.channels=8',
    'model.segmentor.decode_head.c1_channels=4'
]


@pytest.fixture(autouse=True)
def named_parts_end(monkeypatch):
    """The tool wraps this function for the rest of its process."""
    monkeypatch.setattr(psmt, 'one_pass', psmt.one_pass)


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(REPO / 'tools/benchmark.py'))


@pytest.fixture
def measured(tool, tmp_path, monkeypatch, capsys):
    """Standard output and results of a run."""
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode',  # takes seconds
                        lambda text, **kwargs: (text, True))

    def run(*options, crops=(33, )):
        words = ['--crop', *crops, '--batch', 2, '--rounds', 1, '--out',
                 tmp_path, '--cfg-options', *THIN, *options]
        monkeypatch.setattr(
            sys, 'argv', ['benchmark.py', str(SHAPES), *map(str, words)])
        tool['main']()
        return (capsys.readouterr().out,
                json.loads((tmp_path / 'results.json').read_text()))

    return run


def test_the_floor_is_the_arithmetic_of_a_step_without_tvat(measured):
    out, results = measured('model.tvat=None', crops=(33, 49))
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


def test_parts_of_a_step(measured, tmp_path):
    out, results = measured()
    size, = results['sizes']
    assert size['cases']['step']['tflop'] > size['cases']['floor']['tflop']
    assert size['parts'].keys() >= {
        'preprocessor', 'teachers', 'CutMix', 'student forward', 'T-VAT',
        'backward', 'optimizer', 'EMA', 'hooks and logging'}
    assert all(spent > 0 for spent in size['parts'].values())
    with gzip.open(tmp_path / 'trace_33_2.json.gz') as file:
        names = {event['name'] for event in json.load(file)['traceEvents']}
    assert {*size['parts']} <= names


def test_a_part_is_without_the_parts_in_it_and_counts_once(tool):

    def event(name, start, end, device=DeviceType.CPU, annotation=True):
        spent = SimpleNamespace(
            start=start, end=end, elapsed_us=lambda: 1e6 * (end - start))
        return SimpleNamespace(
            name=name, time_range=spent, device_type=device,
            is_user_annotation=annotation)

    found = tool['shares'](SimpleNamespace(events=lambda: [
        event('student forward', 3, 24),
        event('rest', 0, 60),
        event('T-VAT', 6, 18),
        event('EMA', 30, 33),
        event('EMA', 40, 43, DeviceType.CUDA),
        event('teachers', 36, 39, annotation=False),
    ]))
    assert found == {
        part: pytest.approx(spent / tool['PROFILED']) for part, spent in
        {'rest': 36, 'student forward': 9, 'T-VAT': 12, 'EMA': 3}.items()}


def test_waits_are_those_that_cuda_tells(tool, monkeypatch):
    """And no other warning; on CPU, masks whose size the host must know."""
    with tool['waits']() as counts:
        torch.rand(3)[torch.rand(3) > 2]
        torch.rand(3)[torch.arange(2)]
    caller = 'tests/test_benchmark.py:test_waits_are_those_that_cuda_tells'
    assert counts == {caller: 1}
    modes = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.set_sync_debug_mode', modes.append)
    with tool['waits']() as counts:
        warnings.warn('called a synchronizing CUDA operation')
        warnings.warn('called a synchronizing CUDA operation')
        warnings.warn('align_corners')
    assert counts == {caller: 2}
    assert modes == ['warn', 'default']


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


def test_a_supervised_config_is_refused(tool, monkeypatch):
    config = str(SHAPES).replace('.py', '_supervised.py')
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', config])
    with pytest.raises(SystemExit, match='not PSMT'):
        tool['main']()
