"""tools/analysis_tools/benchmark.py; times are not asserted."""

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import benchmark
import benchmark_data
import encoder_costs
import pytest
import torch
from mmengine.config import Config
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
    cfg = Config.fromfile(SHAPES)
    cfg.merge_from_dict(
        {name: int(value) for name, value in (x.split('=') for x in THIN)}
    )
    cfg.model.data_preprocessor.size = (33, 33)
    _, rest, attack = encoder_costs.pair_gmacs(cfg)
    # 2 pairs; the first layer gives its images no gradient
    assert 4e-3 * rest == pytest.approx(tflop['floor, no T-VAT'], rel=0.05)
    assert 4e-3 * attack == pytest.approx(
        tflop['floor'] - tflop['floor, no T-VAT'], rel=1e-6
    )
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


def test_without_a_gpu_the_time_of_other_jobs_does_not_count(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    clock = iter([3.0, 5.0])
    monkeypatch.setattr('time.process_time', lambda: next(clock))
    assert benchmark.measured(lambda batch: None, {})[0] == 2


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


def test_hours_are_arithmetic_over_what_a_card_reaches(monkeypatch, capsys):
    """Of 1,000 iterations, 300 of them of warm-up, with 8 + 8 images."""
    monkeypatch.setattr(
        encoder_costs, 'pair_gmacs', lambda cfg: (1e3, 3e3, 2e3)
    )
    monkeypatch.setattr(sys, 'argv', ['costs', str(SHAPES), '--hours'])
    encoder_costs.main()
    cells = capsys.readouterr().out.splitlines()[-1].split(' | ')
    assert cells[1:6] == ['8 + 8', '1,000', '16.00', '80.00', '40.0%']
    full, half = (
        3600 * peak * share
        for peak, share in zip(
            encoder_costs.CARDS['A100'], encoder_costs.REACHED
        )
    )
    hours = [
        300 * 16 / rate + 700 * (48 / rate + 32 / full)
        for rate in (full, half)
    ]
    assert cells[6] == ' / '.join(f'{x:.1f}' for x in hours)
    assert encoder_costs.REACHED == pytest.approx([0.148, 0.195], abs=1e-3)


def test_a_core_prepares_pairs_of_drawn_images(monkeypatch, capsys):
    """Every part takes time, but for what chance leaves out."""
    monkeypatch.setattr(
        benchmark_data, 'KINDS', dict(PascalVOCDataset=(90, 120, '.jpg', 9.0))
    )
    monkeypatch.setattr(
        benchmark_data, 'pair_gmacs', lambda cfg: (1.0, 1.0, 0.0)
    )
    config = CONFIGS / 'deeplabv3plus_r50_voc_1-8.py'
    monkeypatch.setattr(sys, 'argv', ['data', str(config), '--num', '2'])
    benchmark_data.main()
    head, _, *rows = (
        line[2:-2].split(' | ')
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('|')
    )
    assert [row[2] for row in rows][:2] == ['cv2', 'pillow']
    for row in rows:
        row = dict(zip(head, row))
        spent = [float(row[name]) for name in benchmark_data.NAMES]
        assert all(spent[:4])
        speed = float(row['pairs/s, core'])
        assert speed == pytest.approx(1e3 / sum(spent), rel=0.02)
        for taken, workers in zip(
            row['A100, pairs/s'].split(' / '), row['num_workers'].split(' / ')
        ):
            # both are rounded
            assert int(workers) == pytest.approx(
                int(taken) / speed, rel=0.01, abs=1.1
            )


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
