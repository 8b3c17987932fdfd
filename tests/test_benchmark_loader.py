"""What the benchmark of the data loader says, and what it relies on."""
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import mmcv
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import LocalBackend
from mmengine.runner import Runner
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from torch.utils.data._utils.pin_memory import pin_memory

from mmseg_psmt.datasets import MultiView, SemiSegDataset

REPO = Path(__file__).resolve().parents[1]
CONFIG = REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
CONFIGS = sorted((REPO / 'configs/psmt').glob('*.py'))
PART = 'train_dataloader.dataset'
LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackSegInputs')
sys.path.insert(0, str(REPO / 'tools'))
import benchmark_loader as tool  # noqa: E402


class Clock:
    now = 0.


@TRANSFORMS.register_module()
class Takes(BaseTransform):
    """Lets the clock go on, in each call by the next of its seconds."""

    def __init__(self, seconds):
        self.seconds = [*seconds]

    def transform(self, results):
        Clock.now += self.seconds[0]
        self.seconds.append(self.seconds.pop(0))
        return results


@TRANSFORMS.register_module()
class SlowMultiView(MultiView):

    def transform(self, results):
        Clock.now += 0.5
        return super().transform(results)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(tool, 'perf_counter', lambda: Clock.now)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    subprocess.run([
        sys.executable, REPO / 'tools/make_shapes.py', '--out',
        root / 'shapes', '--num-train', '48', '--num-val', '1'
    ], check=True, stdout=subprocess.DEVNULL)
    return root


@pytest.fixture(autouse=True)
def here(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('PSMT_DATA', str(drawn))
    monkeypatch.chdir(tmp_path)


def takes(*seconds):
    return dict(type='Takes', seconds=seconds)


def clocked(strong=()):
    """Options: half a second in the views, more in the strong one."""
    return {
        f'{PART}.labeled.pipeline': [
            LOAD, dict(type='LoadAnnotations'),
            takes(0.125),
            dict(type='MultiView', labeled=[takes(1), PACK],
                 labeled_weak=[PACK])],
        f'{PART}.unlabeled.pipeline': [
            LOAD,
            dict(type='SlowMultiView', weak=[PACK], strong=[*strong, PACK])]
    }


def load(options=None, number=2):
    cfg, dataset, sampler = tool.load(str(CONFIG), options)
    return cfg, dataset, [*islice(sampler, number)]


def main(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, argv)])
    tool.main()


def test_each_part_gets_its_own_time_in_the_median_run(clock, monkeypatch):
    # once when the data set is built, then two pairs in the first run, which
    # does not count, and in three more
    _, dataset, pairs = load(clocked([takes(.5, .5, .5, 5, 7, 1, 1, 2, 4)]))
    load_part = SemiSegDataset._load

    def slow(*args):
        Clock.now += 8
        return load_part(*args)

    monkeypatch.setattr(SemiSegDataset, '_load', staticmethod(slow))
    parts = tool.time_parts(dataset, pairs, repeats=3)
    assert {part: s for part, s in parts.items() if s} == {
        ('Takes', 'labeled image'): 0.125,
        ('Takes', 'labeled'): 1,
        ('SlowMultiView', 'unlabeled image'): 0.5,
        ('Takes', 'strong'): 3,
        (tool.REST, tool.REST): 16
    }
    assert {*parts} > {('LoadImageFromFile', 'labeled image'),
                       ('LoadImageFromFile', 'unlabeled image'),
                       ('LoadAnnotations', 'labeled image'),
                       ('PackSegInputs', 'labeled_weak'),
                       ('PackSegInputs', 'weak')}
    rows = [[cell.strip() for cell in row.split('|')[1:-1]]
            for row in tool.table(parts).splitlines()]
    stages = rows[0][1:-2]
    rows = {row[0]: row[1:] for row in rows}
    assert dict(zip(stages, rows['Takes'])) == {
        'labeled image': '125.00', 'labeled': '1000.00', 'labeled_weak': '',
        'unlabeled image': '', 'weak': '', 'strong': '3000.00'}
    assert rows['Takes'][-2:] == ['4125.00', '20%']
    assert rows['together'][-2:] == ['20625.00', '100%']
    assert rows[tool.REST][-2:] == ['16000.00', '78%']


@pytest.mark.parametrize('step, workers', [(3.25, 4), (3.2, 5), (14, 1)])
def test_workers_that_a_step_needs(clock, monkeypatch, capsys, step, workers):
    """A pair takes 1.625 s, a batch 13 s."""
    load(clocked())[0].dump('clocked.py')
    main(monkeypatch, 'clocked.py', '--pairs', 2, '--repeats', 1, '--step',
         step)
    words = capsys.readouterr().out
    assert f'with 8 pairs needs num_workers={workers},' in words
    assert 'one process: 0.6 pairs/s' in words


def test_workers_are_timed_together_on_the_same_pairs(clock, monkeypatch):
    cfg, dataset, pairs = load(number=10)
    delivered = []

    def build(loader, seed):
        assert loader['num_workers'] == 3 and loader['persistent_workers']
        for i in range(0, len(loader['sampler']), loader['batch_size']):
            delivered.extend(loader['sampler'][i:i + loader['batch_size']])
            Clock.now += (100, 0.25, 0.75)[i // 24]
            yield

    monkeypatch.setattr(Runner, 'build_dataloader', build)
    rate = tool.time_loader(cfg.train_dataloader, dataset, pairs, workers=3,
                            repeats=2)
    assert rate == 8 / 0.5
    assert len(delivered) == 3 * 3 * 8 and {*delivered} == {*pairs}


def test_the_command_line_times_real_workers(tmp_path):
    done = subprocess.run([
        sys.executable, REPO / 'tools/benchmark_loader.py', CONFIG,
        '--pairs', '8', '--repeats', '2', '--workers', '2', '--step', '0.1',
        '--out', 'out.json', '--cfg-options', 'train_dataloader.batch_size=3'
    ], capture_output=True, text=True, env={
        **os.environ,
        'PYTHONPATH': f'{REPO / "tests/stubs"}:'
        f'{os.environ.get("PYTHONPATH", "")}'})
    assert done.returncode == 0, done.stderr
    out = json.loads((tmp_path / 'out.json').read_text())
    parts = {(name, stage): s for name, stage, s in out['seconds_per_pair']}
    assert 1 / sum(parts.values()) == pytest.approx(out['pairs_per_second'])
    for view in ('labeled', 'strong'):
        assert [name for name, stage in parts if stage == view] == [
            'ColorJitter', 'RandomGrayscale', 'RandomGaussianBlur',
            'PackSegInputs']
    assert min(parts.values()) > 0
    assert out['pairs_per_second_of_workers'] > 0 and out['batch'] == 3
    assert '| ColorJitter | ' in done.stdout
    assert '2 workers, batches of 3 pairs: ' in done.stdout


@pytest.mark.parametrize('argv, complaint', [
    ([CONFIG, '--workers', 0], '--workers must be at least 1, got 0'),
    ([CONFIG, '--pairs', 0], '--pairs must be at least 1, got 0'),
    ([CONFIG, '--step', 0], '--step must be seconds above 0, got 0.0'),
    ([CONFIG, '--step', 'nan'], '--step must be seconds above 0, got nan'),
    ([CONFIG, '--out', 'gone/x.json'], 'a folder that exists, got gone/x'),
    ([str(CONFIG).replace('.py', '_supervised.py')],
     "SemiSegDataset and PairSampler, not ['BaseSegDataset', 'Infinite"),
    (['gone.py'], 'gone.py cannot be measured: FileNotFoundError'),
])
def test_bad_options_are_refused_by_name(argv, complaint, monkeypatch, capsys):
    with pytest.raises(SystemExit) as error:
        main(monkeypatch, *argv)
    assert complaint in f'{capsys.readouterr().err}{error.value}'


@pytest.mark.parametrize('masks', [True, False])
def test_files_of_a_pair_are_read_and_decoded_once(masks, monkeypatch):
    options = {} if masks else {
        f'{PART}.unlabeled.pipeline': [
            LOAD, Config.fromfile(CONFIG).psmt.unlabeled_views]}
    _, dataset, pairs = load(options)
    read, decoded = Counter(), []
    get, decode = LocalBackend.get, mmcv.imfrombytes
    monkeypatch.setattr(LocalBackend, 'get', lambda self, path: (
        read.update([str(path)]), get(self, path))[1])
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: (
        decoded.append(0), decode(*args, **kwargs))[1])
    labeled, unlabeled, _ = pairs[0]
    views = dataset[pairs[0]]
    assert {*views} == {'labeled', 'labeled_weak', 'weak', 'strong'}
    labeled = dataset.labeled.get_data_info(labeled)
    unlabeled = dataset.unlabeled.get_data_info(unlabeled)
    files = [labeled['img_path'], labeled['seg_map_path'],
             unlabeled['img_path']]
    assert read == Counter(files + [unlabeled['seg_map_path']] * masks)
    assert len(decoded) == 3 + masks


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_workers_outlive_a_pass(path):
    cfg = Config.fromfile(path, import_custom_modules=False)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        assert loader.persistent_workers is (loader.num_workers > 0)


def test_a_batch_survives_pinning_and_its_images_are_pinned(monkeypatch):
    _, dataset, pairs = load()
    batch = pseudo_collate([dataset[pair] for pair in pairs])
    pinned = []
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda image: (
        pinned.append(image.data_ptr()), image.clone())[1])
    copy = pin_memory(batch, 'cuda')
    assert {*copy} == {'labeled', 'labeled_weak', 'weak', 'strong'}
    for name, view in batch.items():
        for image, other in zip(view['inputs'], copy[name]['inputs']):
            assert torch.equal(image, other)
            pinned.remove(image.data_ptr())
        for sample in copy[name]['data_samples']:
            assert isinstance(sample, SegDataSample)
    assert not pinned
