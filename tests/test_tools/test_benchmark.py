"""tools/analysis_tools/benchmark.py; times are not asserted."""

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import benchmark
import pytest
import torch
from torch.autograd import DeviceType
from torch.utils.flop_counter import FlopCounterMode

from mmseg_psmt.models import psmt

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/psmt'
SHAPES = CONFIGS / 'deeplabv3plus_r18_shapes_1-8.py'
THIN = [
    'model.segmentor.backbone.base_channels=8',
    'model.segmentor.decode_head.in_channels=64',
    'model.segmentor.decode_head.c1_in_channels=8',
    'model.segmentor.decode_head.channels=8',
    'model.segmentor.decode_head.c1_channels=4',
]


@pytest.fixture(autouse=True)
def named_parts_end(monkeypatch):
    """The tool wraps this function for the rest of its process."""
    monkeypatch.setattr(psmt, 'one_pass', psmt.one_pass)


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    """Standard output and results of a run."""
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode',  # takes seconds
        lambda text, **kwargs: (text, True),
    )

    def run(*options, crops=(33,)):
        words = [
            '--crop',
            *crops,
            '--batch',
            2,
            '--rounds',
            1,
            '--out',
            tmp_path,
            '--cfg-options',
            *THIN,
            *options,
        ]
        monkeypatch.setattr(
            sys, 'argv', ['benchmark.py', str(SHAPES), *map(str, words)]
        )
        benchmark.main()
        return (
            capsys.readouterr().out,
            json.loads((tmp_path / 'results.json').read_text()),
        )

    return run


def test_the_floor_is_the_arithmetic_of_a_step(measured):
    out, results = measured('model.tvat=None', crops=(33, 49))
    small, large = results['sizes']
    for size in small, large:
        cases = size['cases']
        assert cases['step']['tflop'] == cases['floor']['tflop'] > 0
        assert cases['floor']['of_floor'] == 1
        assert cases['floor']['images_per_second'] == pytest.approx(
            4 / cases['floor']['seconds']
        )
        assert 'T-VAT' not in size['parts']
        assert [*cases] == ['step', 'floor', 'port', 'supervised']
    assert large['cases']['floor']['tflop'] > small['cases']['floor']['tflop']
    for name in small['cases']:
        assert out.count(f'\n| {name} |') == 2


@pytest.mark.parametrize('one_pass', [True, False])
def test_parts_of_a_step(measured, tmp_path, one_pass):
    out, results = measured(f'model.one_pass={one_pass}')
    (size,) = results['sizes']
    tflop = {name: case['tflop'] for name, case in size['cases'].items()}
    assert tflop['step'] == tflop['floor'] == tflop['port']
    assert tflop['floor'] > tflop['floor, no T-VAT'] > tflop['supervised']
    assert size['parts'].keys() >= {
        'preprocessor',
        'teachers',
        'CutMix',
        'student forward',
        'T-VAT',
        'backward',
        'check that all is finite',
        'optimizer',
        'EMA',
        'hooks and logging',
    }
    assert all(spent > 0 for spent in size['parts'].values())
    with gzip.open(tmp_path / 'trace_33_2.json.gz') as file:
        names = {event['name'] for event in json.load(file)['traceEvents']}
    assert {*size['parts']} <= names


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_a_way_back_to_weights_is_twice_the_way_there(groups):
    conv = torch.nn.Conv2d(8, 8, 3, groups=groups, device='meta')
    flops = []
    for leaf in False, True:
        images = torch.empty(1, 8, 9, 9, device='meta', requires_grad=leaf)
        with FlopCounterMode(
            display=False,
            custom_mapping={
                torch.ops.aten.convolution_backward: (
                    benchmark.conv_backward_flop
                )
            },
        ) as counter:
            conv(images).sum().backward()
        flops.append(counter.get_total_flops())
    there = 2 * 7 * 7 * 8 * 8 // groups * 9
    assert flops == [2 * there, 3 * there]


def test_a_part_is_without_the_parts_in_it_and_counts_once():

    def event(name, start, end, device=DeviceType.CPU, annotation=True):
        spent = SimpleNamespace(
            start=start, end=end, elapsed_us=lambda: 1e6 * (end - start)
        )
        return SimpleNamespace(
            name=name,
            time_range=spent,
            device_type=device,
            is_user_annotation=annotation,
        )

    found = benchmark.shares(
        SimpleNamespace(
            events=lambda: [
                event('student forward', 3, 24),
                event('rest', 0, 60),
                event('T-VAT', 6, 18),
                event('EMA', 30, 33),
                event('EMA', 40, 43, DeviceType.CUDA),
                event('teachers', 36, 39, annotation=False),
            ]
        )
    )
    assert found == {
        part: pytest.approx(spent / benchmark.PROFILED)
        for part, spent in {
            'rest': 36,
            'student forward': 9,
            'T-VAT': 12,
            'EMA': 3,
        }.items()
    }


@pytest.mark.parametrize(
    'words', [('no.py',), (SHAPES, '--crop', 0), (SHAPES, '--out', SHAPES)]
)
def test_wrong_words_are_refused_by_name(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, words)])
    with pytest.raises(SystemExit):
        benchmark.parse_args()
    assert str(words[-2:][0]).split('/')[-1] in capsys.readouterr().err


def test_autocast_without_a_gpu_is_refused(monkeypatch):
    words = ['benchmark.py', str(SHAPES), '--amp', 'bfloat16']
    monkeypatch.setattr(sys, 'argv', words)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(SystemExit, match='--amp'):
        benchmark.main()


def test_a_supervised_config_is_refused(monkeypatch):
    config = str(SHAPES).replace('.py', '_supervised.py')
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', config])
    with pytest.raises(SystemExit, match='not PSMT'):
        benchmark.main()
